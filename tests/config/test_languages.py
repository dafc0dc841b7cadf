"""The admin in the language that its reader chooses, of those that there are."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
PAGE = "/admin/employees/university/"


@pytest.fixture
def reader(superadmin: User) -> Client:
    client = Client()
    client.force_login(superadmin)
    return client


def choose(reader: Client, language: str) -> str:
    choice = {"language": language}
    answer = reader.post("/admin/language/", choice, headers={"referer": f"http://testserver{PAGE}"}, follow=True)
    assert answer.redirect_chain == [(f"http://testserver{PAGE}", 302)]
    return answer.content.decode()


def test_it_works(reader: Client) -> None:
    page = choose(reader, "en")
    assert '<html lang="en"' in page
    assert "MAX · employee directory" in re.findall(r"<title>(.*?)</title>", page, re.DOTALL)[0]
    assert '<html lang="ru"' in choose(reader, "ru")


def test_no_russian_is_left_in_english_but_the_languages_own_name(reader: Client) -> None:
    assert set(re.findall("[а-яё]+", choose(reader, "en").lower())) == {"русский"}


def test_russian_and_english_are_offered(reader: Client) -> None:
    offered = re.findall(r'name="language" type="hidden" value="(\w+)"', reader.get(PAGE).content.decode())
    assert offered == ["ru", "en"]


def test_it_keeps_to_the_languages_that_there_are(reader: Client) -> None:
    assert '<html lang="de"' not in choose(reader, "de")


def test_it_leads_to_no_other_host(reader: Client) -> None:
    answer = reader.post("/admin/language/", {"language": "en", "next": "https://example.org/"})
    assert answer["Location"] == "/"
