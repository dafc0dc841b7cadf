"""Who may erase a person, on which surface, and what the audit rows record."""

import logging
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from pytest_django.fixtures import Settings
from redis import Redis
from rest_framework.test import APIClient

from employees.history.models import EmployeeVersion
from employees.models import Employee, University
from profiles.models import PhoneLink, Profile
from profiles.models.tombstones import Erasure, Tombstone
from tests.conftest import client_of
from tests.profiles.all_stores import ALL_STORES, FIRST, ID, LAST, OWN, TOKEN, person_in_all_stores, places
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


@pytest.fixture
def employee(university: University, api: APIClient, settings: Settings) -> Employee:
    settings.MAX_BOT_TOKEN = TOKEN
    return person_in_all_stores(university, api)


def test_the_audit_row_has_no_names_and_is_final(api: APIClient, employee: Employee) -> None:
    api.delete(f"/profiles/{ID}")
    row = Erasure.objects.get()
    assert (row.by, row.counts["employees"], row.counts["profile_cache"]) == ("root", 2, 1)
    assert row.person == Tombstone.objects.get().key != ID
    for act in (row.delete, lambda: Erasure.objects.update(by="x")):
        with pytest.raises(IntegrityError, match="never edited"), transaction.atomic():
            act()


def test_it_may_be_repeated(api: APIClient, employee: Employee) -> None:
    assert [api.delete(f"/profiles/{ID}").status_code for _ in range(2)] == [204, 204]
    assert (Tombstone.objects.count(), Erasure.objects.count()) == (1, 2)


def test_a_data_protection_officer_may(db: None) -> None:
    officer = User.objects.create_user("officer")
    assert client_of(officer).delete(f"/profiles/{ID}").status_code == 403
    officer.groups.add(Group.objects.get(name="data_protection_officer"))
    assert client_of(officer).delete(f"/profiles/{ID}").status_code == 204
    assert client_of(officer).get("/employees").status_code == 403


@pytest.mark.parametrize("user_id", ["0", "007", "9223372036854775808", "a%20b", "%00"])
def test_it_refuses_an_invalid_id(api: APIClient, user_id: str) -> None:
    assert api.delete(f"/profiles/{user_id}").status_code == 400
    assert not Tombstone.objects.exists()


def test_the_admin_erases_too(client: Client, employee: Employee, superadmin: User, redis: Redis) -> None:
    client.force_login(superadmin)
    assert (
        client.post(f"/admin/profiles/profile/{ID}/delete/", {"post": "yes", "reason": "asked to"}).status_code == 302
    )
    assert places(redis, FIRST, LAST, OWN) == set()
    assert client.get("/admin/profiles/erasure/").status_code == 200


def test_the_admin_records_the_reason_without_the_id(client: Client, employee: Employee, superadmin: User) -> None:
    client.force_login(superadmin)
    page = f"/admin/profiles/profile/{ID}/"
    client.post(f"{page}change/", {"first_name": FIRST, "last_name": "", "user_provided_name": ""})
    assert LogEntry.objects.filter(object_id=ID).exists()
    client.post(f"{page}delete/", {"post": "yes", "reason": "asked to"})
    assert (Erasure.objects.get().by, Erasure.objects.get().reason) == ("root", "asked to")
    rows = LogEntry.objects.values_list("object_id", "object_repr", "change_message")
    assert not [row for row in rows if ID in "".join(map(str, row))]


@pytest.mark.long
@pytest.mark.parametrize("reason", [{}, {"reason": " "}, {"reason": "x" * 501}])
def test_the_admin_refuses_without_a_reason(
    client: Client, employee: Employee, superadmin: User, reason: dict[str, str]
) -> None:
    client.force_login(superadmin)
    chosen = {"action": "delete_selected", "_selected_action": ID, "post": "yes"}
    for path, given in ((f"{ID}/delete/", {"post": "yes"}), ("", chosen)):
        page = client.post(f"/admin/profiles/profile/{path}", given | reason, follow=True)
        assert [message.level_tag for message in page.context["messages"]] == ["error"]
    assert Profile.objects.filter(pk=ID).exists()
    assert not Erasure.objects.exists()


def test_several_are_erased_for_one_reason(client: Client, employee: Employee, superadmin: User) -> None:
    client.force_login(superadmin)
    add_profile("8")
    chosen = {"action": "delete_selected", "_selected_action": [ID, "8"]}
    confirm = client.post("/admin/profiles/profile/", chosen).content.decode()
    assert all(f'name="{name}"' in confirm for name in ("_selected_action", "reason", "post"))
    client.post("/admin/profiles/profile/", chosen | {"post": "yes", "reason": "asked to"})
    assert list(Erasure.objects.values_list("reason", flat=True)) == ["asked to"] * 2
    assert not LogEntry.objects.filter(content_type__app_label="profiles").exists()


def test_a_removed_link_leaves_no_id_in_the_log(client: Client, employee: Employee, superadmin: User) -> None:
    client.force_login(superadmin)
    link = PhoneLink.objects.filter(user_id=ID)[0]
    client.post(f"/admin/profiles/phonelink/{quote(link.pk)}/delete/", {"post": "yes"})
    assert not PhoneLink.objects.filter(pk=link.pk).exists()
    row = LogEntry.objects.get(content_type__app_label="profiles")
    assert (row.object_id, row.object_repr) == (None, "Phone link removed")


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("erase_person", *arguments, stdout=out)
    return out.getvalue()


def test_a_dry_run_counts_the_same_rows(employee: Employee, redis: Redis) -> None:
    preview = run("--user-id", ID, "--reason", "asked to", "--dry-run")
    assert "Dry run" in preview
    assert places(redis, FIRST, LAST, OWN) == ALL_STORES
    assert not Tombstone.objects.exists()
    assert run("--user-id", ID, "--reason", "asked to").splitlines()[:-1] == preview.splitlines()[:-1]
    assert places(redis, FIRST, LAST, OWN) == set()
    assert Erasure.objects.get().reason == "asked to"


def test_the_command_prints_a_table_and_no_log_lines(
    employee: Employee, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        *lines, last = run("--user-id", ID, "--reason", "asked to").splitlines()
    assert last.startswith("Erased")
    assert {len(line) for line in lines} == {max(len(line.split()[0]) for line in lines) + 8}
    assert not caplog.records


def test_old_versions_of_the_employee_lose_the_name(api: APIClient, employee: Employee) -> None:
    versions = EmployeeVersion.objects.filter(id=employee.pk)
    versions.update(phone="+12025550177", max_id=None, first_name=FIRST)
    assert api.delete(f"/profiles/{ID}").status_code == 204
    assert set(versions.values_list("first_name", flat=True)) == {"Неизвестно"}


@pytest.mark.parametrize("arguments", [["--user-id", "0", "--reason", "x"], ["--user-id", "7", "--reason", " "]])
def test_the_command_refuses(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run(*arguments)
