"""A person is erased everywhere and stays erased; what stays is counted and says nothing of them."""

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis
from rest_framework.test import APIClient

from employees import backfill
from employees.history.models import EmployeeVersion
from employees.models import Employee, IdempotentRequest, University, UnresolvedName
from profiles import cache, erasure
from profiles.comparison import compare
from profiles.models import Comparison, DirectAnswer, PhoneLink, Profile, WaitingComparison
from profiles.tombstones import Erasure, Tombstone
from tests.conftest import client_of
from tests.profiles.people import know
from tests.servers import FaultyServer
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]

ID, PHONE = "4815162342", "+79165550142"
# Nobody else is called so, in any table.
FIRST, LAST, OWN = "Аполлинария", "Заиграева", "Поленька"


def said(update: dict[str, Any], state: str = State.PENDING, **fields: Any) -> InboxUpdate:
    """Put an update into the inbox, as the receiver would or as one that has been there for some time."""
    now = timezone.now()
    body = json.dumps(update, ensure_ascii=False).encode()
    return InboxUpdate.objects.create(
        dedup_key=secrets.token_bytes(32),
        body=body,
        update_type="message_created",
        state=state,
        received_at=now,
        next_try_at=now,
        finished_at=None if state == State.PENDING else now,
        **fields,
    )


def message(user_id: int = int(ID), first_name: str = FIRST, at: Any = None, **more: Any) -> dict[str, Any]:
    at = at or timezone.now()
    sender = {"user_id": user_id, "first_name": first_name, "last_name": LAST}
    return {
        "update_type": "message_created",
        "timestamp": int(at.timestamp() * 1000),
        "message": {"sender": sender, "body": {"mid": f"{user_id}-{at}"}} | more,
    }


@pytest.fixture
def settings_with_token(settings: Settings) -> None:
    settings.MAX_BOT_TOKEN = "bot-token"


@pytest.fixture
def employee(university: University, api: APIClient, settings_with_token: None) -> Employee:
    """A person in every place that keeps anything of them."""
    card = f"BEGIN:VCARD\r\nTEL:{PHONE}\r\nFN:{FIRST} {LAST}\r\nEND:VCARD"
    signature = hmac.new(b"bot-token", card.encode(), hashlib.sha256).hexdigest()
    contact = {"type": "contact", "payload": {"vcf_info": card, "hash": signature}}
    said(message(body={"mid": "c", "attachments": [contact]}))
    process_inbox()
    know(ID, FIRST, LAST, OWN)
    employee = Employee.objects.create(phone=PHONE, max_id=ID, university=university)
    run = backfill.start()
    while backfill.step(run):
        pass
    body = {"phone": "+12025550142", "max_id": ID, "university_id": university.pk}
    assert api.post("/employees", body, format="json", headers={"Idempotency-Key": "k"}).json()["first_name"] == OWN
    UnresolvedName.objects.create(employee=employee, next_try_at=timezone.now())
    DirectAnswer.objects.create(
        phone=PHONE, user_id=ID, first_name=FIRST, last_name=LAST, asked_at=timezone.now(), outcome="found"
    )
    waiting = WaitingComparison(
        phone=PHONE, max_id=ID, stage=3, served_source="api", served_ms=1, api_name=f"{FIRST} {LAST}"
    )
    compare(waiting).save()
    waiting.save()
    employee.refresh_from_db()
    LogEntry.objects.create(
        user=User.objects.get(username="root"),
        content_type=ContentType.objects.get_for_model(Employee),
        object_id=str(employee.pk),
        object_repr=str(employee),
        action_flag=CHANGE,
    )
    said(message(), State.DEAD, error=f"ValueError: {FIRST}")
    said(message(), State.SKIPPED)
    said(message(9, "Олег", link={"sender": {"user_id": int(ID), "first_name": FIRST}}), State.DONE)
    said(message(), State.PENDING)
    InboxUpdate.objects.create(
        dedup_key=b"q",
        body=f'{{"user_id": {ID}, "name": "{FIRST}"'.encode(),
        update_type="other",
        state=State.QUARANTINED,
        received_at=timezone.now(),
        next_try_at=timezone.now(),
        finished_at=timezone.now(),
    )
    return employee


def dump(redis: Redis) -> Iterator[tuple[str, str]]:
    """Return every value of every table as text, and every value in Redis."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 (our own tables)
            for row in cursor.fetchall():
                for value in row:
                    is_binary = isinstance(value, memoryview | bytes)
                    yield table, bytes(value).decode(errors="replace") if is_binary else str(value)
    for key in redis.scan_iter():
        value = redis.get(key)
        assert isinstance(value, bytes)
        yield "redis", value.decode()


def places(redis: Redis, *words: str) -> set[str]:
    escaped = [json.dumps(word)[1:-1] for word in words]
    return {place for place, text in dump(redis) if any(word in text for word in (*words, *escaped))}


EVERYWHERE = {
    "profile_cache",
    "employees",
    "employee_history_historicalemployee",
    "backfill_batches",
    "idempotent_requests",
    "direct_answers",
    "comparisons_waiting",
    "django_admin_log",
    "webhook_inbox",
    "redis",
}
# Who is employed by which phone and MAX id stays, and since when.
WITH_PHONE = {"employees", "employee_history_historicalemployee"}


def test_it_works(api: APIClient, employee: Employee, redis: Redis) -> None:
    assert places(redis, FIRST, LAST, OWN) == EVERYWHERE
    assert api.delete(f"/profiles/{ID}").status_code == 204
    assert places(redis, FIRST, LAST, OWN) == set()
    assert places(redis, PHONE, PHONE[1:]) == WITH_PHONE
    employee.refresh_from_db()
    assert (employee.first_name, employee.last_name, employee.middle_name) == ("Неизвестно", "Неизвестно", "")
    assert (employee.profile_source, employee.profile_last_updated) == ("default", None)
    assert not UnresolvedName.objects.exists()
    assert Comparison.objects.get().cache_name == Comparison.objects.get().api_name == ""
    assert not PhoneLink.objects.exists()
    assert api.get(f"/profiles/{ID}").json()["source"] == "default"
    assert Employee.objects.filter(first_name="Неизвестно").count() == 2


def test_however_deep_somebody_else_hid_them(superadmin: User) -> None:
    deep = b"[" * 450 + b'{"user_id": %d}' % int(ID) + b"]" * 450
    update = said({}, State.DONE)
    InboxUpdate.objects.filter(pk=update.pk).update(body=b'{"update_type": "bot_started", "deep": %b}' % deep)
    assert client_of(superadmin).delete(f"/profiles/{ID}").status_code == 204
    assert InboxUpdate.objects.get().body is None


def test_only_a_later_update_brings_the_person_back(api: APIClient, redis: Redis) -> None:
    earlier = timezone.now()
    know(ID, FIRST, LAST)
    api.delete(f"/profiles/{ID}")
    said(message(at=earlier), State.PENDING)
    process_inbox()
    assert not Profile.objects.exists()
    said(message(first_name="Новое"), State.PENDING)
    process_inbox()
    assert Profile.objects.get().first_name == "Новое"
    assert api.get(f"/profiles/{ID}").json()["display_name"].startswith("Новое")


def test_a_clock_ahead_of_ours_does_not_outlive_the_tombstone(api: APIClient) -> None:
    ahead = timezone.now() + timedelta(minutes=3)
    said(message(at=ahead))
    process_inbox()
    api.delete(f"/profiles/{ID}")
    said(message(at=ahead))
    process_inbox()
    assert not Profile.objects.exists()


def test_replays_and_the_backfill_find_nothing(api: APIClient, employee: Employee, redis: Redis) -> None:
    api.delete(f"/profiles/{ID}")
    InboxUpdate.objects.all().replay(by="x", reason="y", selection="all")
    process_inbox()
    run = backfill.start()
    while backfill.step(run):
        pass
    run.undo()
    while backfill.step(run):
        pass
    assert places(redis, FIRST, LAST, OWN) == set()
    assert not Profile.objects.filter(pk=ID).exists()


def test_others_keep_theirs(api: APIClient, employee: Employee, university: University, redis: Redis) -> None:
    know("481516", "Олег", "Другой")
    other = Employee.objects.create(phone="+12025550199", max_id="481516", first_name="Олег", university=university)
    kept = said(message(481516, "Олег", body={"mid": "1", "text": f"1{ID}"}), State.DONE, user_id="481516")
    IdempotentRequest.objects.create(
        user=User.objects.get(username="root"), key="o", answer={"id": other.pk}, status=201
    )
    api.delete(f"/profiles/{ID}")
    other.refresh_from_db()
    kept.refresh_from_db()
    assert (other.first_name, Profile.objects.get().first_name) == ("Олег", "Олег")
    assert (kept.body is not None, kept.user_id) == (True, "481516")
    assert IdempotentRequest.objects.get().key == "o"
    assert redis.exists("profile:user:481516")


def test_somebody_elses_update_is_worked_off_first(api: APIClient, redis: Redis) -> None:
    said(message(9, "Олег", link={"sender": {"user_id": int(ID), "first_name": FIRST}}))
    api.delete(f"/profiles/{ID}")
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(seconds=61))
    InboxUpdate.objects.update(received_at=timezone.now() - timedelta(minutes=2))
    assert erasure.finish_erasures() == 0
    process_inbox()
    assert Profile.objects.get().first_name == "Олег"
    assert erasure.finish_erasures() == 1
    assert places(redis, FIRST) == set()


def test_what_was_under_way_is_caught_by_the_second_pass(api: APIClient, employee: Employee, redis: Redis) -> None:
    profile = Profile.objects.get()
    api.delete(f"/profiles/{ID}")
    # A create and a reader that had read the profile before it was gone.
    Employee.objects.filter(pk=employee.pk).update(
        first_name=FIRST, profile_source="webhook", profile_last_updated=profile.last_updated
    )
    redis.set(f"profile:user:{ID}", FIRST)
    assert erasure.finish_erasures() == 0
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    Employee.objects.filter(pk=employee.pk).update(profile_last_updated=timezone.now() - timedelta(minutes=3))
    assert erasure.finish_erasures() == 1
    assert places(redis, FIRST) == set()
    assert places(redis, ID) == WITH_PHONE


def test_the_second_pass_leaves_what_came_later(api: APIClient, employee: Employee) -> None:
    api.delete(f"/profiles/{ID}")
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    know(ID, "Новое", "Имя")
    Employee.objects.filter(pk=employee.pk).update(first_name="Новое", profile_last_updated=timezone.now())
    assert erasure.finish_erasures() == 1
    employee.refresh_from_db()
    assert (employee.first_name, Profile.objects.get().first_name) == ("Новое", "Новое")


def test_redis_that_is_away_is_done_later(api: APIClient, redis: Redis, redis_server: FaultyServer) -> None:
    know(ID, FIRST, LAST)
    redis_server.pause()
    assert api.delete(f"/profiles/{ID}").status_code == 204
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    assert erasure.finish_erasures() == 0
    redis_server.resume()
    cache.breaker.close()
    # It has heard us all the same; one that was killed comes back with its last snapshot.
    redis.set(f"profile:user:{ID}", FIRST)
    assert erasure.finish_erasures() == 1
    assert not redis.exists(f"profile:user:{ID}")


@pytest.mark.django_db(transaction=True)
def test_it_waits_for_who_is_writing_the_person(redis: Redis) -> None:
    erasing = threading.Thread(target=erase_and_leave)
    with transaction.atomic():
        know(ID, FIRST, LAST)
        erasing.start()
        erasing.join(0.5)
        assert erasing.is_alive(), "the tombstone was set past a writer that had not seen it"
    erasing.join()
    assert not Profile.objects.exists()
    assert places(redis, FIRST) == set()


def erase_and_leave() -> None:
    erasure.erase(ID, by="x", reason="y")
    connection.close()


def test_the_audit_names_nobody_and_only_grows(api: APIClient, employee: Employee) -> None:
    api.delete(f"/profiles/{ID}")
    row = Erasure.objects.get()
    assert (row.by, row.counts["employees"], row.counts["profile_cache"]) == ("root", 2, 1)
    assert row.person == Tombstone.objects.get().key != ID
    for act in (row.delete, lambda: Erasure.objects.update(by="x")):
        with pytest.raises(IntegrityError, match="never edited"), transaction.atomic():
            act()


def test_twice_is_harmless(api: APIClient, employee: Employee) -> None:
    assert [api.delete(f"/profiles/{ID}").status_code for _ in range(2)] == [204, 204]
    assert (Tombstone.objects.count(), Erasure.objects.count()) == (1, 2)


def test_a_data_protection_officer_may(db: None) -> None:
    officer = User.objects.create_user("officer")
    assert client_of(officer).delete(f"/profiles/{ID}").status_code == 403
    officer.groups.add(Group.objects.get(name="data_protection_officer"))
    assert client_of(officer).delete(f"/profiles/{ID}").status_code == 204
    assert client_of(officer).get("/employees").status_code == 403


@pytest.mark.parametrize("user_id", ["0", "007", "9223372036854775808", "a%20b", "%00"])
def test_it_refuses_what_is_no_id(api: APIClient, user_id: str) -> None:
    assert api.delete(f"/profiles/{user_id}").status_code == 400
    assert not Tombstone.objects.exists()


def test_the_admin_erases_as_well(client: Client, employee: Employee, superadmin: User, redis: Redis) -> None:
    client.force_login(superadmin)
    assert client.post(f"/admin/profiles/profile/{ID}/delete/", {"post": "yes"}).status_code == 302
    assert places(redis, FIRST, LAST, OWN) == set()
    assert client.get("/admin/profiles/erasure/").status_code == 200


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("erase_person", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_counts_first(employee: Employee, redis: Redis) -> None:
    told = run("--user-id", ID, "--reason", "asked to", "--dry-run")
    assert "Dry run" in told
    assert places(redis, FIRST, LAST, OWN) == EVERYWHERE
    assert not Tombstone.objects.exists()
    assert run("--user-id", ID, "--reason", "asked to").splitlines()[:-1] == told.splitlines()[:-1]
    assert places(redis, FIRST, LAST, OWN) == set()
    assert Erasure.objects.get().reason == "asked to"


def test_a_version_from_before_another_phone_forgets_the_name(api: APIClient, employee: Employee) -> None:
    versions = EmployeeVersion.objects.filter(id=employee.pk)
    versions.update(phone="+12025550177", max_id=None, first_name=FIRST)
    assert api.delete(f"/profiles/{ID}").status_code == 204
    assert set(versions.values_list("first_name", flat=True)) == {"Неизвестно"}


@pytest.mark.parametrize("arguments", [["--user-id", "0", "--reason", "x"], ["--user-id", "7", "--reason", " "]])
def test_the_command_refuses(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run(*arguments)
