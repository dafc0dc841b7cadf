"""Every page of the admin in Russian: what is left in Latin letters must be a name, a code or somebody's data."""

import re
from html.parser import HTMLParser
from http import HTTPStatus

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from employees import backfill
from employees.models import BackfillRun, Employee, Membership, University
from employees.naming import rename
from monitoring.models import Alert
from monitoring.screens import urls as screens
from profiles.rollout import changes
from profiles.rollout.rules import Order
from tests.profiles.people import know
from tests.webhooks.inbox_rows import row
from webhooks.models import RawLook, Replay, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]

# Names of things, which are the same in every language.
NAMES = set(
    """MAX Redis PostgreSQL API CSV XLSX csv xlsx ID URL JSON JWT HTTP TTL Slack English RU EN IP User Agent Accept
    webhook cache first primary infrastructure collection employee chat monitoring other esc Docker Compose LDAP Single
    Sign On en ru UTC CONFIG root curator operator superadmin viewer manager
    Axes Token Control Command Mac gates rollout waiting comparisons traffic traffics deltas
    migrate save switch Saved by code without reason""".split()  # noqa: SIM905 (words, not a list of quotes)
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
def operator(client: Client, superadmin: User, settings: Settings) -> Client:
    settings.LANGUAGE_CODE = "ru"
    client.force_login(superadmin)
    return client


@pytest.fixture
def rows(superadmin: User) -> dict[str, str]:
    """A row of what the pages show, with data in Cyrillic."""
    university = University.objects.create(name="Вуз")
    know("7")
    employee = Employee.objects.create(
        phone="+79160000001", last_name="Петров", first_name="Иван", max_id="7", university=university,
        profile_source="default",
    )  # fmt: skip
    rename(employee, {"last_name": "Сидоров"})
    Membership.objects.create(user=User.objects.create_user("анна"), university=university)
    update = row(State.DEAD, update_type="bot_started", tries=6, error="Ошибка", reason="")
    for state in State:
        row(state)
    Replay.objects.create(by="анна", selection="всё", reason="сбой", count=1)
    RawLook.objects.create(by="анна", inbox_update_id=update.pk, update_type="bot_started", reason="жалоба")
    alert = Alert.objects.create(kind="dead_letters", severity="warning", message="", words={"count": 3})
    changes.set_switch("profile_cache", False, Order("анна", "замер"))
    BackfillRun.objects.create(status="done", until_id=0)
    return {
        "employee": str(employee.pk),
        "update": str(update.pk),
        "alert": str(alert.pk),
        "run": str(backfill.start().pk),
        "university": str(university.pk),
    }


def pages(rows: dict[str, str]) -> list[str]:
    lists = [f"/admin/{m._meta.app_label}/{m._meta.model_name}/" for m in admin.site._registry]
    own = [
        "employees/employee/{employee}/change/", "employees/employee/{employee}/history/",
        "employees/employee/{employee}/delete/", "employees/employee/import/", "employees/employee/export/",
        "employees/university/{university}/change/", "employees/backfillrun/{run}/change/",
        "employees/backfillrun/{run}/do/pause/", "webhooks/inboxupdate/{update}/change/",
        "webhooks/inboxupdate/{update}/raw-body/", "webhooks/inboxupdate/dead-letters/",
        "webhooks/inboxupdate/replay/?state__exact=dead", "monitoring/alert/{alert}/change/",
        "monitoring/alert/{alert}/answer/mute/", "profiles/profile/7/change/", "", "password_change/",
    ]  # fmt: skip
    plain = [reverse(f"screens:{page.name}") for page in screens.urlpatterns if "<" not in str(page.pattern)]
    return [*lists, *(f"{path}add/" for path in lists), *(f"/admin/{path.format(**rows)}" for path in own), *plain]


def test_no_page_has_english_left(operator: Client, rows: dict[str, str]) -> None:
    left = {}
    for path in pages(rows):
        answer = operator.get(path)
        assert answer.status_code in (HTTPStatus.OK, HTTPStatus.FORBIDDEN, HTTPStatus.FOUND), path
        is_page = answer.status_code == HTTPStatus.OK and "text/html" in answer.headers["Content-Type"]
        left[path] = sorted(latin_in(answer.content.decode())) if is_page else []
    assert not any(left.values()), "\n".join(f"{path}: {' '.join(words)}" for path, words in left.items() if words)


def test_the_login_is_in_russian(client: Client, settings: Settings) -> None:
    settings.LANGUAGE_CODE = "ru"
    page = client.get("/admin/login/").content.decode()
    assert latin_in(page) == set()
    assert "Войти" in page


def test_english_is_complete_where_it_is_chosen(operator: Client, rows: dict[str, str]) -> None:
    """The other way round: no Cyrillic but the data's and the site's name."""
    operator.cookies["django_language"] = "en"
    data = {"Вуз", "Петров", "Сидоров", "Иван", "анна", "сбой", "всё", "жалоба", "Ошибка", "замер", "Русский"}
    data |= {"каталог", "Каталог", "сотрудников", "Неизвестно"}
    for path in pages(rows):
        answer = operator.get(path)
        if answer.status_code == HTTPStatus.OK and "text/html" in answer.headers["Content-Type"]:
            reader = Visible()
            reader.feed(answer.content.decode())
            words = {word for text in reader.texts for word in re.findall(r"[А-Яа-яёЁ]{2,}", text)}
            assert words <= data, path


def test_the_reader_of_pages_sees_what_is_left() -> None:
    page = '<p title="Some hint">Слово <b>word</b> 2026</p><script>let it be</script><code>x y</code>'
    assert latin_in(page) == {"Some", "hint", "word"}
