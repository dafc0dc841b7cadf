"""What the theme leaves unsaid, says twice or bends wrongly in Russian, and our templates of it mend."""

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from employees.accounts import user_scope
from employees.models import Employee, University

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
LIST = "/admin/employees/employee/"


@pytest.fixture
def reader(client: Client, superadmin: User, university: University) -> Client:
    Employee.objects.create(phone="+79160000000", university=university)
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def test_it_works(reader: Client) -> None:
    page = reader.get(LIST).content.decode()
    assert 'data-label="Phone"' in page, "a phone has the heading beside the value"
    assert len(re.findall(r'<button type="button"[^>]*aria-label="Show or hide the menu"', page)) == 2
    assert '<td class="' in page
    assert re.search(r'data-label="MAX id">—</td>', page)


def test_no_noun_follows_delete(reader: Client) -> None:
    page = reader.get(f"{LIST}{Employee.objects.get().pk}/change/").content.decode()
    [button] = re.findall(r'<a href="[^"]+/delete/"[^>]*>(.*?)</a>', page, re.DOTALL)
    assert re.sub(r"\s+", " ", button).strip() == "Delete"


@pytest.mark.parametrize(
    ("path", "marked"),
    [("inboxupdate/", "Inbox"), ("inboxupdate/7/change/", "Inbox"), ("inboxupdate/dead-letters/", "Dead letters")],
)
def test_the_menu_marks_one_entry(superadmin: User, path: str, marked: str) -> None:
    request = RequestFactory().get(f"/admin/webhooks/{path}")
    request.user = superadmin
    request.scope = user_scope(superadmin)  # type: ignore[attr-defined]
    items = [item for group in admin.site.get_sidebar_list(request) for item in group["items"]]  # type: ignore[attr-defined]
    assert [item["title"] for item in items if item["active"]] == [marked]


def test_without_javascript_the_page_is_there_and_says_so(reader: Client) -> None:
    """The theme hides all of it until a script has run."""
    for visitor, path in ((reader, "/admin/"), (reader, LIST), (Client(), "/admin/login/")):
        page = visitor.get(path).content.decode()
        [words] = re.findall(r"<noscript>(.*?)</noscript>", page, re.DOTALL)
        assert "screens/noscript.css" in words
        assert "rollback emergency" in words


def test_the_users_menu_is_a_button_and_the_content_has_a_way_to_it(reader: Client) -> None:
    page = reader.get(LIST).content.decode()
    assert re.search(r'<button type="button"[^>]*openUserLinks = !openUserLinks', page)
    assert page.index('href="#content"') < page.index('<a href="/admin/"')
    assert 'id="content"' in page
