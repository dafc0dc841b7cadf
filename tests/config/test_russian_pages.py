"""Every page of the admin in Russian: what is left in Latin letters must be a name, a code or somebody's data."""

import re
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import translation
from pytest_django.fixtures import Settings

from config.lib.http import error_pages
from employees.models import University
from monitoring.rollout_control import rollback
from profiles.rollout.models import Heartbeat
from tests.config.admin_pages import make_rows, paths

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]

# Names of things, which are the same in every language; the last line: of keys, and the codes of the two languages.
NAMES = set(
    """MAX Redis PostgreSQL API CSV XLSX csv xlsx ID URL JSON JWT HTTP TTL Slack English IP UTC LDAP Docker Compose Mac
    Control Command JavaScript cookie esc en ru""".split()  # noqa: SIM905 (words, not a list of quotes)
)
_HIDDEN = {"script", "style", "code", "pre"}
_SHOWN_ATTRIBUTES = {"aria-label", "placeholder", "title", "alt"}
# Words; what has an underscore, a digit, a dot or a slash in it is a code, an address or a file.
_WORD = re.compile(r"(?<![\w./@$-])[A-Za-z]{2,}(?![\w/@-]|\.\w)")


class Visible(HTMLParser):
    """Collects what a reader sees or hears, without icons (their names are drawn as pictures)."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        is_hidden = tag in _HIDDEN or "material-symbols" in given.get("class", "") or "data-code" in given
        if not is_hidden:
            self.texts += [value for name, value in given.items() if name in _SHOWN_ATTRIBUTES]
            if tag == "input" and given.get("type") in ("submit", "button"):
                self.texts.append(given.get("value", ""))
        if tag not in ("input", "img", "br", "meta", "link", "hr", "base", "wbr"):
            self.open.append((tag, is_hidden))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not any(is_hidden for _, is_hidden in self.open):
            self.texts.append(data)


def latin_in(page: str) -> set[str]:
    reader = Visible()
    reader.feed(page)
    return {word for text in reader.texts for word in _WORD.findall(text)} - NAMES


@pytest.fixture
def operator(client: Client, settings: Settings) -> Client:
    settings.LANGUAGE_CODE = "ru"
    client.force_login(User.objects.create_superuser("анна-старшая"))
    return client


@pytest.fixture
def rows(operator: Client) -> dict[str, Any]:
    return make_rows(User.objects.get(is_superuser=True))


def read(operator: Client, path: str) -> str:
    """Return a page, or nothing where there is none for people."""
    answer = operator.get(path)
    assert answer.status_code in (HTTPStatus.OK, HTTPStatus.FORBIDDEN, HTTPStatus.FOUND), (path, answer.status_code)
    is_page = "text/html" in answer.headers["Content-Type"] and answer.status_code != HTTPStatus.FOUND
    return answer.content.decode() if is_page else ""


@pytest.mark.long
@pytest.mark.usefixtures("shared_round")
@pytest.mark.parametrize("most", [1, pytest.param(8, marks=pytest.mark.integration)])
def test_no_page_has_english_left(operator: Client, rows: dict[str, Any], most: int) -> None:
    left = {path: sorted(latin_in(read(operator, path))) for path in paths(rows, most=most)}
    assert not any(left.values()), "\n".join(f"{path}: {' '.join(words)}" for path, words in left.items() if words)


def test_every_table_has_a_row(operator: Client, rows: dict[str, Any]) -> None:
    """A page without data shows none of the words that come with it."""
    assert [model for model in admin.site._registry if not model._default_manager.exists()] == []


@pytest.mark.long
@pytest.mark.usefixtures("steady_heartbeats")
@pytest.mark.parametrize("is_followed", [True, False])
def test_the_emergency_stop_is_in_russian(
    operator: Client, rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch, is_followed: bool
) -> None:
    if is_followed:
        Heartbeat.objects.all().delete()
    monkeypatch.setattr(rollback, "VERIFIED_WITHIN", 0.1)
    page = operator.post("/admin/emergency/", {"word": "стоп", "reason": "имена не те"}).content.decode()
    assert latin_in(page) == set()
    assert ("проверочный запрос: имя не найдено, к кэшу не обращались" if is_followed else "отстают: ") in page


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("person/", {"who": "+79160000001", "ask_api": "1"}),
        ("person/", {"who": "нет"}),
        ("steer/3/", {"percent": "много", "reason": ""}),
        ("steer/pause/", {"reason": ""}),
        ("rollout/flag/", {"action": "delete_selected", "_selected_action": "1"}),
        ("auth/group/", {"action": "delete_selected", "_selected_action": ["1", "2", "3"]}),
        ("auth/user/add/", {"username": "", "usable_password": "true"}),
        ("webhooks/inboxupdate/{update}/raw-body/", {"reason": "жалоба"}),
        ("waffle/switch/1/change/", {"active": "on", "reason": ""}),
        ("rollout/universityrule/add/", {"university_id": "0", "phase": "3", "reason": ""}),
    ],
)
def test_what_is_answered_is_in_russian(
    operator: Client, rows: dict[str, Any], path: str, data: dict[str, Any]
) -> None:
    answer = operator.post(f"/admin/{path.format(**rows)}", data, follow=True)
    assert answer.status_code == HTTPStatus.OK
    assert latin_in(answer.content.decode()) == set()


def test_an_import_is_previewed_in_russian(operator: Client) -> None:
    University.objects.create(name="Вуз")
    rows = "phone,first_name,role,university_name\n+79160000099,Пётр,curator,Вуз\n"
    file = SimpleUploadedFile("new.csv", rows.encode())
    page = operator.post("/admin/employees/employee/import/", {"import_file": file, "format": "0"}).content.decode()
    assert latin_in(page) == set()
    assert all(word in page for word in ("Телефон", "Роль", "куратор", "вручную"))


@pytest.mark.parametrize("name", ["400", "403", "403_csrf", "404", "413", "500"])
def test_error_pages_are_in_russian(name: str) -> None:
    with translation.override("ru"):
        assert latin_in(error_pages.page(f"{name}.html")) == set()


def test_the_login_is_in_russian(client: Client, settings: Settings) -> None:
    settings.LANGUAGE_CODE = "ru"
    page = client.get("/admin/login/").content.decode()
    assert latin_in(page) == set()
    assert "Войти" in page


@pytest.mark.integration
def test_english_is_complete_where_it_is_chosen(operator: Client, rows: dict[str, Any]) -> None:
    """The other way round: no Cyrillic but the data's and the site's name."""
    operator.cookies["django_language"] = "en"
    data = {"вуз", "петров", "сидоров", "иван", "анна", "старшая", "сбой", "всё", "жалоба", "ошибка", "замер", "готово"}
    data |= {"итог", "просьба", "нет", "русский", "справочник", "сотрудников", "неизвестно"}
    for path in paths(rows, most=1):
        reader = Visible()
        reader.feed(read(operator, path))
        words = {word for text in reader.texts for word in re.findall(r"[А-Яа-яёЁ]{2,}", text)}
        assert {word.casefold() for word in words} <= data, path


def test_the_reader_of_pages_sees_what_is_left() -> None:
    page = '<p title="Some hint">Слово <b>word</b> 2026</p><script>let it be</script><code>x y</code>'
    assert latin_in(page) == {"Some", "hint", "word"}
