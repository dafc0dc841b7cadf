"""The audit log: one list of everything that was recorded, ordered, filtered, with few queries."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from waffle.models import Switch

from config.lib.audit_log import _MESSAGE_KEY
from employees.models import BackfillRun, Employee, University
from monitoring.audit.audit_log import SOURCES, entries
from monitoring.rollout_control.models import Signature
from profiles.models.tombstones import Erasure, PersonExport
from profiles.rollout.models import UniversityRule
from tests.profiles.people import add_profile
from tests.rollout.changing import change
from webhooks.models import PayloadAccess, Replay

pytestmark = pytest.mark.django_db
PAGE = "/admin/audit/"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


@pytest.fixture
def _recorded(superadmin: User, phases: Any) -> None:
    change("switch", switch="profile_cache", is_on=False, by="anna", reason="measure <b>")
    BackfillRun.objects.create(until_id=0, started_by="olga", reason="the new ones")
    Replay.objects.create(by="boris", selection=SCRIPT, reason="outage", count=2)
    PayloadAccess.objects.create(by="clara", inbox_update_id=5, update_type="bot_started", reason="complaint")
    Erasure.objects.create(by="dora", reason="asked to", person="0" * 64, counts={})
    PersonExport.objects.create(by="emma", person="0" * 64, counts={})
    Signature.objects.create(item="dpo", by=superadmin, note="read", expires_at=timezone.now() + timedelta(days=1))
    LogEntry.objects.create(user=superadmin, action_flag=2, object_repr="Import", change_message="Import: 1 new")


@pytest.mark.usefixtures("_recorded")
def test_it_works(admin: Client) -> None:
    page = admin.get(PAGE).content.decode()
    for text in ("anna", "measure &lt;b&gt;", "Profile cache: on → off", "boris", "outage", "clara", "complaint"):
        assert text in page, text
    assert "Import: 1 new" in page
    assert SCRIPT not in page
    assert {entry.kind for entry in entries()} == set(SOURCES)
    moments = [entry.at for entry in entries()]
    assert moments == sorted(moments, reverse=True)


def test_the_admin_log_is_in_the_readers_language(admin: Client, university: University) -> None:
    run = BackfillRun.objects.create(university=university, until_id=0)
    admin.cookies["django_language"] = "ru"
    admin.post(f"/admin/employees/backfillrun/{run.pk}/do/pause/", {"reason": "measure <b>"})
    with translation.override("en"):
        [english] = entries(kind="admin")
        assert (english.reason, english.what) == ("Pause: measure <b>", f"backfill {run.pk}")
    assert english.url == f"/admin/employees/backfillrun/{run.pk}/change/"
    with translation.override("ru"):
        [russian] = entries(kind="admin")
    assert russian.reason == "Приостановить: measure <b>"
    assert "Pause: measure" in LogEntry.objects.get().get_change_message(), "as the previous release reads it"
    admin.cookies["django_language"] = "en"
    assert "Pause: measure &lt;b&gt;" in admin.get(f"/admin/employees/backfillrun/{run.pk}/history/").content.decode()


@pytest.mark.parametrize(("language", "other"), [("en", "ru"), ("ru", "en")])
def test_objects_have_titles_in_the_readers_language(
    admin: Client, university: University, phases: Any, language: str, other: str
) -> None:
    """The user who changed them has another language."""
    admin.cookies["django_language"] = other
    switch, group = Switch.objects.get(name="profile_cache"), Group.objects.get(name="curator")
    admin.post(f"/admin/waffle/switch/{switch.pk}/change/", {"reason": "measure"})
    admin.post(f"/admin/auth/group/{group.pk}/change/", {"name": "curator"})
    admin.post("/admin/rollout/universityrule/add/", {"university_id": university.pk, "phase": 3, "reason": "measure"})
    with translation.override(language):
        shown = {entry.what for entry in entries(kind="admin")}
    scope = UniversityRule.objects.get().pk
    assert (
        shown
        == {
            "en": {"Switch: Profile cache", "group: curator", f"university rule: {scope}"},
            "ru": {"Переключатель: Кэш профилей", "группа: куратор", f"правило для вуза: {scope}"},
        }[language]
    )


@pytest.mark.usefixtures("redis", "phases")
def test_look_ups_are_recorded_without_names(admin: Client, university: University) -> None:
    employee = Employee.objects.create(phone="+79160000000", max_id="30005", last_name="Бум", university=university)
    add_profile("30006")
    for who in ("+79160000000", "30005", "30006", "+79160000001"):
        admin.post("/admin/person/", {"who": who})
    admin.get("/admin/sources.csv")
    chosen = {"action": "refresh_from_cache", "_selected_action": employee.pk}
    admin.post("/admin/employees/employee/", chosen)
    assert [(entry.what, entry.reason) for entry in reversed(entries(kind="admin"))] == [
        (f"employee {employee.pk}", "A person was looked up"),
        (f"employee {employee.pk}", "A person was looked up"),
        ("A person who is not an employee was looked up", ""),
        ("A search found neither an employee nor a profile", ""),
        ("Export of the name sources", ""),
        ("Names refreshed from the cache: 0 of 1", ""),
    ]
    rows = LogEntry.objects.values_list("object_id", "object_repr", "change_message")
    assert not [row for row in rows for word in ("Бум", "3000", "7916") if word in "".join(map(str, row))]


@pytest.mark.parametrize("message", ['"%s"', '["%s"]', '[{"added": {}, "x": "%s"}]', '{"%s": 1}', '[{"%s": 1}'])
def test_a_row_of_another_format_is_shown_as_it_is(superadmin: User, message: str) -> None:
    LogEntry.objects.create(user=superadmin, action_flag=2, object_repr="Import", change_message=message % _MESSAGE_KEY)
    assert [entry.what for entry in entries(kind="admin")] == ["Import"]


@pytest.mark.usefixtures("_recorded")
def test_it_filters_by_kind_and_user(admin: Client) -> None:
    assert {entry.by for entry in entries(kind="look")} == {"clara"}
    assert {entry.kind for entry in entries(by="BORIS")} == {"replay"}
    assert "outage" not in admin.get(PAGE, {"kind": "look", "by": "clara"}).content.decode()


def test_older_entries_are_on_the_next_page(admin: Client) -> None:
    for number in range(60):
        Replay.objects.create(by="b", selection=f"number-{number}.", reason="x", count=1)
    first = admin.get(PAGE)
    second = admin.get(f"{PAGE}?{first.context['older']}")
    texts = [text.content.decode() for text in (first, second)]
    for number in range(60):
        assert sum(f"number-{number}." in text for text in texts) == 1
    assert second.context["older"] == ""


@pytest.mark.usefixtures("_recorded")
def test_it_takes_one_query_a_table(admin: Client) -> None:
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            admin.get(PAGE)
        counts.append(len(queries))
        for number in range(70):
            Replay.objects.create(by="b", selection=str(number), reason="x", count=1)
    assert counts[0] == counts[1] <= len(SOURCES) + 3


@pytest.mark.parametrize("query", [{"before": "yesterday"}, {"before": "2026-13-01"}, {"kind": "x"}])
def test_an_invalid_filter_is_ignored(admin: Client, query: dict[str, str]) -> None:
    assert admin.get(PAGE, query).status_code == HTTPStatus.OK


def test_it_refuses_without_the_permission() -> None:
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename__startswith="view_").exclude(codename="view_audit"))
    client = Client()
    client.force_login(reader)
    assert client.get(PAGE).status_code == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(("language", "fields"), [("en", "first name, staff status"), ("ru", "имя, статус персонала")])
def test_changed_fields_are_in_the_readers_language(admin: Client, phases: Any, language: str, fields: str) -> None:
    """Django stores the capitalised labels of the form."""
    user = User.objects.create_user("анна")
    data = {"username": user.username, "first_name": "Анна", "is_staff": "on", "is_active": "on"}
    data |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00"}
    assert admin.post(f"/admin/auth/user/{user.pk}/change/", data).status_code == HTTPStatus.FOUND
    admin.cookies["django_language"] = language
    history = admin.get(f"/admin/auth/user/{user.pk}/history/").content.decode()
    with translation.override(language):
        assert fields in entries(kind="admin")[0].reason.lower()
    assert fields in history.lower()


def test_deletions_and_names_of_fields_are_shown(admin: Client, university: University) -> None:
    employee = Employee.objects.create(phone="+79160000000", max_id="7", university=university)
    data = {
        "phone": "+79160000000",
        "first_name": "Анна",
        "last_name": "Ли",
        "max_id": "8",
        "university": university.pk,
    }
    assert admin.post(f"/admin/employees/employee/{employee.pk}/change/", data).status_code == HTTPStatus.FOUND
    admin.post(f"/admin/employees/employee/{employee.pk}/delete/", {"post": "yes"})
    with translation.override("en"):
        deleted, changed = entries(kind="admin")[:2]
    assert deleted.reason == "Deleted"
    assert "MAX ID" in changed.reason
