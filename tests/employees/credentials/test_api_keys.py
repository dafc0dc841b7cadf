"""API keys: which requests they open, for how long, what they leave in the records, and their page in the admin."""

import re
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config.lib import audit_log
from config.lib.http import throttling
from config.lib.http.throttling import TokenBuckets, UserRate
from config.lib.messages import Message
from config.postgres.base import parameters, statement_deadline
from employees.credentials.admin import API_PERMISSIONS
from employees.credentials.authentication import key_permissions
from employees.credentials.models import ApiKey
from employees.history.models import EmployeeVersion
from employees.models import Employee, Membership, University
from tests.conftest import client_of
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]

READ, ADD = "employees.view_employee", "employees.add_employee"


def create(owner: User, *permissions: str, name: str = "HR", **fields: Any) -> tuple[ApiKey, APIClient]:
    """Return a key and its client."""
    key = ApiKey(name=name, owner=owner, expires_at=timezone.now() + timedelta(days=1), **fields)
    text = key.generate()
    key.save()
    for permission in permissions:
        app, codename = permission.split(".")
        key.permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    return key, client


def member(group: str, university: University | None, **fields: Any) -> User:
    user = User.objects.create_user(f"{group}-{university}", **fields)
    user.groups.add(Group.objects.get(name=group))
    if university:
        Membership.objects.create(user=user, university=university)
    return user


@pytest.fixture
def other(db: None) -> University:
    return University.objects.create(name="Другой")


@pytest.fixture
def people(university: University, other: University) -> list[Employee]:
    return [
        Employee.objects.create(phone=f"+7916000000{number}", university=place, max_id=str(number), first_name="А")
        for number, place in enumerate((university, other), 1)
    ]


def body(university: University, phone: str = "+79165550001") -> dict[str, Any]:
    return {"phone": phone, "first_name": "А", "last_name": "Б", "university_id": university.pk}


def statuses(client: APIClient, university: University) -> tuple[int, int]:
    return client.get("/employees").status_code, client.post("/employees", body(university), format="json").status_code


def test_it_works(superadmin: User, people: list[Employee], university: University) -> None:
    key, client = create(superadmin, READ, ADD)
    assert client.get("/employees").json()["count"] == 2
    assert client.post("/employees", body(university), format="json").status_code == 201
    key.refresh_from_db()
    assert key.last_used_at is not None


def test_it_needs_the_permission_of_each_request(superadmin: User, people: list[Employee]) -> None:
    _key, client = create(superadmin, READ)
    assert statuses(client, people[0].university) == (200, 403)
    path = f"/employees/{people[0].pk}"
    assert client.get(path).status_code == 200
    assert client.patch(path, {"role": ""}, format="json").status_code == 403
    assert client.delete(path).status_code == 403
    assert client.get("/profiles/1").status_code == 403
    assert client.get("/universities").status_code == 403
    assert client.get("/employees/batch-jobs").status_code == 403


@pytest.mark.parametrize(
    ("method", "path"), [("delete", "/employees/1"), ("get", "/profiles/1"), ("post", "/employees")]
)
def test_the_log_names_the_owner_of_a_refused_key(
    superadmin: User, method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    _key, client = create(superadmin, READ)
    assert getattr(client, method)(path).status_code == 403
    (line,) = (record for record in caplog.records if getattr(record, "event", "") == "request_refused")
    assert (line.user, line.status) == ("root (API key HR)", 403)  # type: ignore[attr-defined]


def test_it_changes_profiles_with_the_permission_to_change(superadmin: User) -> None:
    add_profile("1")
    _key, reader = create(superadmin, "profiles.view_profile", "profiles.add_profile")
    _key, blind = create(superadmin, "profiles.change_profile", name="blind")
    _key, writer = create(superadmin, "profiles.view_profile", "profiles.change_profile", name="writer")
    cases = ((reader, (200, 403, 403, 403)), (blind, (403, 403, 403, 403)), (writer, (200, 200, 200, 403)))
    for client, expected in cases:
        assert (
            client.get("/profiles/1").status_code,
            client.put("/profiles/1", {"max_first_name": "А"}, format="json").status_code,
            client.post("/profiles/1/name", {"name": "Анна"}, format="json").status_code,
            client.delete("/profiles/1").status_code,
        ) == expected


@pytest.mark.parametrize("scheme", ["api-key", "API-KEY", "Api-Key "])
def test_the_scheme_may_be_spelled_in_any_case(superadmin: User, scheme: str) -> None:
    key = ApiKey(name="x", owner=superadmin, expires_at=timezone.now() + timedelta(days=1))
    text = key.generate()
    key.save()
    assert APIClient().get("/employees", headers={"authorization": f"{scheme} {text}"}).status_code == 403


@pytest.mark.parametrize("text", ["", " ", "x", "dir_" + "A" * 43, "é", "x" * 5000])
def test_an_unknown_key_is_refused(text: str, client: Client) -> None:
    answer = client.get("/employees", headers={"authorization": f"Api-Key {text}", "accept-language": "en"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    assert answer.json()["error"]["message"] == "The API key is unknown or revoked, or has expired."


def test_it_ends_when_revoked_expired_or_its_owner_is_deactivated(superadmin: User) -> None:
    key, client = create(superadmin, READ)
    with time_machine.travel(timezone.now() + timedelta(days=1, seconds=1)):
        assert client.get("/employees").status_code == 401
    assert client.get("/employees").status_code == 200
    User.objects.update(is_active=False)
    assert client.get("/employees").status_code == 401
    User.objects.update(is_active=True)
    ApiKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())
    assert client.get("/employees").status_code == 401


def test_it_outlasts_the_owners_password(superadmin: User) -> None:
    _key, client = create(superadmin, READ)
    superadmin.set_password("another")
    superadmin.save()
    assert client.get("/employees").status_code == 200


def test_it_never_has_more_rights_than_its_owner(people: list[Employee], university: University) -> None:
    operator = member("operator", university)
    _key, client = create(operator, READ, ADD, "employees.delete_employee", "profiles.delete_profile")
    assert client.get("/employees").json()["count"] == 1
    assert statuses(client, university) == (200, 403)
    assert client.delete(f"/employees/{people[0].pk}").status_code == 403
    assert client.delete("/profiles/1").status_code == 403
    operator.groups.clear()
    assert client.get("/employees").status_code == 403


def test_a_key_that_may_not_see_an_object_does_not_change_it(
    superadmin: User, people: list[Employee], university: University
) -> None:
    """The answer would show it."""
    blind = [f"employees.{verb}_{name}" for name in ("employee", "university") for verb in ("add", "change", "delete")]
    _key, client = create(superadmin, *blind)
    path = f"/employees/{people[0].pk}"
    for method in ("put", "patch"):
        answer = getattr(client, method)(path, {}, format="json")
        assert (answer.status_code, people[0].phone in answer.content.decode()) == (403, False)
    assert statuses(client, university) == (403, 201), "the answer to a create shows what was sent"
    assert client.delete(path).status_code == 204


def test_it_may_be_limited_to_a_university(superadmin: User, people: list[Employee], university: University) -> None:
    permissions = (READ, ADD, "employees.add_university", "profiles.view_profile", "employees.view_university")
    _key, client = create(superadmin, *permissions, university=university)
    assert [row["id"] for row in client.get("/employees").json()["results"]] == [people[0].pk]
    assert client.get(f"/employees/{people[1].pk}").status_code == 404
    assert client.post("/employees", body(university), format="json").status_code == 201
    assert client.post("/employees", body(people[1].university, "+79165550002"), format="json").status_code == 400
    assert client.post("/universities", {"name": "Новый"}, format="json").status_code == 403
    assert [row["id"] for row in client.get("/universities").json()["results"]] == [university.pk]


@pytest.mark.parametrize("group", ["curator", "operator", "viewer"])
@pytest.mark.parametrize("is_member", [True, False])
def test_a_university_never_widens_the_owners_view(
    group: str, is_member: bool, people: list[Employee], university: University, other: University
) -> None:
    """A key for another university than the owner's shows nothing; the same as without a membership."""
    owner = member(group, university if is_member else None, is_staff=True)
    _key, client = create(owner, READ, university=other)
    answer = client.get("/employees")
    assert answer.status_code == 403 or answer.json()["count"] == 0


def test_a_key_of_a_staff_member_opens_monitoring(university: University) -> None:
    viewer = member("viewer", None, is_staff=True)
    _key, client = create(viewer, "monitoring.view_screens", "rollout.operate_rollout")
    assert client.get("/monitoring/profiles/coverage").status_code == 200
    assert client.get("/monitoring/rollout").status_code == 403
    change = {"reason": "r", "phase": 1, "percent": 5}
    assert client.post("/monitoring/rollout/set", change, format="json").status_code == 403, "the owner may not"
    assert client.post("/monitoring/rollout/emergency", {"reason": "r"}, format="json").status_code == 403


def test_audit_rows_and_versions_name_the_key(superadmin: User, university: University) -> None:
    key, client = create(superadmin, ADD, "profiles.delete_profile", "rollout.operate_rollout", name="1C export")
    employee = client.post("/employees", body(university), format="json").json()["id"]
    version = EmployeeVersion.objects.get(id=employee)
    assert (version.history_user, version.history_change_reason) == (superadmin, "API key: 1C export")
    request = RequestFactory().get("/")
    request.user = key.limited_owner()
    audit_log.record(request, Message("Phone link removed"))
    row = LogEntry.objects.get()
    assert (row.user, audit_log.display_change(row)) == (superadmin, "Phone link removed (API key 1C export)")
    assert client.delete("/profiles/1").status_code == 204
    with connection.cursor() as cursor:
        cursor.execute("SELECT by FROM erasures")
        assert cursor.fetchall() == [("root (API key 1C export)",)]


def test_the_longest_names_fit_the_audit_log() -> None:
    key, _client = create(User.objects.create_superuser("u" * 150), name="k" * 60)
    assert len(key.limited_owner().get_username()) <= 150


def test_the_last_use_is_recorded_once_a_minute(superadmin: User, django_assert_num_queries: Any) -> None:
    key, client = create(superadmin, READ)
    client.get("/employees")
    key.refresh_from_db()
    first = key.last_used_at
    with django_assert_num_queries(3):  # the key with its owner, its permissions, the count
        client.get("/employees")
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        client.get("/employees")
    key.refresh_from_db()
    assert first
    assert key.last_used_at
    assert key.last_used_at > first


@pytest.mark.django_db(transaction=True)
def test_it_reads_while_the_database_is_read_only(superadmin: User) -> None:
    _key, client = create(superadmin, READ)
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        assert client.get("/employees").status_code == 200
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")


def test_each_key_has_a_rate_limit_of_its_own(
    superadmin: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Requests that took longer than a second each would all be allowed.
    monkeypatch.setattr(throttling, "time", SimpleNamespace(monotonic=lambda: 0.0))
    settings.API_RATE_LIMIT = 1
    UserRate.buckets = TokenBuckets()
    _key, busy = create(superadmin, READ, name="busy")
    _key, idle = create(superadmin, READ, name="idle")
    assert [busy.get("/employees").status_code for _ in range(15)][-1] == 429
    assert idle.get("/employees").status_code == 200
    UserRate.buckets = TokenBuckets()


def views(resolver: URLResolver | URLPattern) -> Iterator[tuple[str, Any]]:
    """Return the path and the class of each view of the API."""
    if isinstance(resolver, URLResolver):
        for pattern in resolver.url_patterns:
            yield from views(pattern)
    elif hasattr(resolver.callback, "cls"):
        yield str(resolver.pattern), resolver.callback


def test_every_request_needs_a_permission_that_a_key_can_have() -> None:
    known = {f"{app}.{codename}" for app, codenames in API_PERMISSIONS.items() for codename in codenames}
    used = set()
    for path, callback in views(get_resolver()):
        if path.startswith(("openapi", "swagger", "api/token")):
            continue
        view = callback.cls(**callback.initkwargs)
        view.kwargs = {"pk": "1"} if "<" in path else {}
        actions = getattr(callback, "actions", None) or dict.fromkeys(["get", "post"])
        for method in actions:
            view.request = SimpleNamespace(method=method.upper())
            if hasattr(view, method) or getattr(callback, "actions", None):
                permissions = key_permissions(view, method.upper())
                assert permissions <= known, f"{method} {path}: {permissions}"
                used |= permissions
    assert known - used == {"rollout.force_rollout"}, "an option of the other changes"


@pytest.fixture
def admin_client(superadmin: User) -> Client:
    client = Client(headers={"accept-language": "en"})
    client.force_login(superadmin)
    return client


def form(**fields: object) -> dict[str, object]:
    read = Permission.objects.get(codename="view_employee", content_type__app_label="employees").pk
    until = {"expires_at_0": "2099-01-01", "expires_at_1": "00:00:00"}
    return {"name": "1C", "owner": User.objects.get(username="root").pk, "permissions": [read], **until, **fields}


def test_the_admin_shows_a_new_key_once(admin_client: Client) -> None:
    page = admin_client.get("/admin/credentials/apikey/add/").content.decode()
    assert "Can view employees" in page
    assert "session" not in re.findall(r"Can (?:view|add|change) (\w+)", page)
    answer = admin_client.post("/admin/credentials/apikey/add/", form())
    assert answer.status_code == 200
    key = re.findall(r"<code>(dir_[\w-]{43})</code>", answer.content.decode())[0]
    assert APIClient().get("/employees", headers={"authorization": f"Api-Key {key}"}).status_code == 200
    row = ApiKey.objects.get()
    assert key not in str(ApiKey.objects.values().get())
    for path in ("", f"{row.pk}/change/", f"{row.pk}/history/"):
        shown = admin_client.get(f"/admin/credentials/apikey/{path}")
        assert shown.status_code == 200
        assert key not in shown.content.decode()
        assert row.prefix in shown.content.decode() or path.endswith("history/")


@pytest.mark.parametrize(
    "fields", [{"name": ""}, {"permissions": []}, {"expires_at_0": "2001-01-01"}, {"owner": ""}, {"expires_at_0": ""}]
)
def test_the_admin_refuses_incomplete_keys(admin_client: Client, fields: dict[str, object]) -> None:
    answer = admin_client.post("/admin/credentials/apikey/add/", form(**fields))
    assert answer.status_code == 200
    assert not ApiKey.objects.exists()


def test_the_admin_revokes(admin_client: Client, superadmin: User) -> None:
    key, client = create(superadmin, READ, name="HR")
    page = f"/admin/credentials/apikey/{key.pk}/change/"
    assert "Revoke the API key" in admin_client.get(page).content.decode()
    assert "cannot be undone" in admin_client.get(f"/admin/credentials/apikey/{key.pk}/revoke/").content.decode()
    assert client.get("/employees").status_code == 200
    admin_client.post(f"/admin/credentials/apikey/{key.pk}/revoke/")
    assert client.get("/employees").status_code == 401
    assert audit_log.display_change(LogEntry.objects.get()) == "Revoke the API key"
    assert "Revoke the API key</a>" not in admin_client.get(page).content.decode()
    assert admin_client.post(f"/admin/credentials/apikey/{key.pk}/revoke/").status_code == 403
    assert admin_client.post("/admin/credentials/apikey/0/revoke/").status_code == 404
    assert admin_client.post("/admin/credentials/apikey/add/", form(name="HR")).status_code == 200
    assert ApiKey.objects.count() == 2, "the name is free again"


def staff(name: str, *codenames: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client


def test_staff_create_keys_for_themselves_only(superadmin: User) -> None:
    client = staff("olga", "add_apikey", "view_apikey")
    client.post("/admin/credentials/apikey/add/", form(owner=superadmin.pk))
    assert ApiKey.objects.get().owner.username == "olga"
    assert client.post(f"/admin/credentials/apikey/{ApiKey.objects.get().pk}/revoke/").status_code == 403


def test_who_lacks_the_permission_sees_nothing_of_it(superadmin: User, university: University) -> None:
    create(superadmin, READ)
    limited = staff("own", "add_apikey", "view_apikey")
    Membership.objects.create(user=User.objects.get(username="own"), university=university)
    for client in (staff("nobody"), limited):
        for path in ("", "add/", f"{ApiKey.objects.get().pk}/change/"):
            assert client.get(f"/admin/credentials/apikey/{path}").status_code == 403
    assert client_of(superadmin).get("/credentials").status_code == 404


def test_keys_of_one_owner_do_not_share_idempotency_keys(
    superadmin: User, university: University, other: University
) -> None:
    _, everywhere = create(superadmin, ADD)
    _, limited = create(superadmin, ADD, name="A", university=university)
    more: Any = {"format": "json", "headers": {"Idempotency-Key": "ik"}}
    assert everywhere.post("/employees", body(other), **more).status_code == 201
    assert limited.post("/employees", body(other), **more).status_code == 400
    again = everywhere.post("/employees", body(other), **more)
    assert (again.status_code, Employee.objects.count()) == (201, 1)


@pytest.mark.parametrize(("permissions", "status"), [([ADD], 400), ([ADD, "employees.add_university"], 201)])
def test_a_new_university_needs_its_permission(superadmin: User, permissions: list[str], status: int) -> None:
    _, client = create(superadmin, *permissions)
    new = {"phone": "+79165550001", "first_name": "А", "last_name": "Б", "university_name": "Новый"}
    assert client.post("/employees", new, format="json").status_code == status
    assert University.objects.filter(name="Новый").exists() == (status == 201)


def test_the_history_of_a_limited_user_begins_with_the_move(university: University, other: University) -> None:
    employee = Employee.objects.create(phone="+79165550009", last_name="Прежняя", university=other)
    employee.university, employee.last_name = university, "Новая"
    employee.save()
    client = Client()
    client.force_login(member("superadmin", university, is_staff=True))
    page = client.get(f"/admin/employees/employee/{employee.pk}/history/").content.decode()
    assert "Прежняя" not in page
    assert "Другой" not in page


@pytest.mark.django_db(transaction=True)
def test_a_process_that_stands_still_while_it_records_a_use_holds_up_nobody(superadmin: User) -> None:
    _key, client = create(superadmin, READ)
    with psycopg.connect(**parameters()) as other, statement_deadline(30):
        other.execute("SELECT 1 FROM api_keys FOR NO KEY UPDATE")
        assert client.get("/employees").status_code == 200
