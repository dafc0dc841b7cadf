"""One lock blocks neither the worker's tasks nor the inbox nor `make health`, which names the session that holds it."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis

from config.postgres import locks
from config.postgres.base import DatabaseWrapper
from monitoring.alerts import engine
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from monitoring.indicators.definitions import INDICATORS
from profiles import cache
from profiles.models import PhoneLink, Profile
from profiles.tasks import refill_cache
from tests.conftest import Phases
from tests.profiles.all_stores import TOKEN, message
from tests.profiles.people import add_profile
from tests.waiting import PATIENCE, seconds_until, within
from tests.webhooks.inbox_rows import row
from webhooks import processing
from webhooks.models import InboxUpdate, State

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis", "phases")]


def open_session(name: str = "psql") -> psycopg.Connection:
    parameters = connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}
    return psycopg.connect(**parameters, application_name=name)


@contextmanager
def held(statement: str, name: str = "psql") -> Iterator[psycopg.Connection]:
    """Hold the locks of a statement in a transaction that was forgotten."""
    with open_session(name) as session:
        session.execute(statement)
        yield session
        session.rollback()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for locks as the worker does, with a shorter patience."""
    monkeypatch.setattr(DatabaseWrapper, "lock_timeout_ms", 0)
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_MS", 200)
    locks.limit_lock_waits()


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Return the errors of the inbox's batches that were given up, each after a wait for a lock."""
    errors: list[Exception] = []
    give_up = processing._give_up

    def record(updates: list[InboxUpdate], error: Exception) -> bool:
        errors.append(error)
        return give_up(updates, error)

    monkeypatch.setattr(processing, "_give_up", record)
    return errors


@pytest.mark.parametrize(
    "statement",
    [
        "LOCK TABLE profile_cache IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE employees IN SHARE MODE",
        "UPDATE profile_cache SET is_cache_behind = false",
        "SELECT 1 FROM profile_cache FOR UPDATE",
    ],
)
def test_a_forgotten_transaction_is_found(statement: str) -> None:
    add_profile("1")
    assert locks.blocking_session() is None
    with held(statement) as session:
        time.sleep(0.1)
        found = locks.blocking_session()
        assert found is not None
        assert found[:3] == (session.info.backend_pid, "psql", "idle in transaction")
        assert 0.1 <= found.seconds < 30
    assert locks.blocking_session() is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("lock", "written"),
    [
        ("SELECT 1 FROM profile_cache WHERE user_id = '1' FOR UPDATE", 1),
        ("SELECT 1 FROM profile_cache WHERE user_id = '1' FOR KEY SHARE", 2),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_locked_profile_does_not_hold_up_the_refill(redis: Redis, lock: str, written: int) -> None:
    """FOR KEY SHARE is the lock of an insert that refers to the row."""
    add_profile("1")
    add_profile("2")
    redis.flushdb()
    with held(lock):
        with within(60):
            assert refill_cache() == written
        assert redis.exists("profile:user:2")
        assert not cache.needs_filling()
    cache._lease.forget()
    assert cache.find("1").profile
    assert redis.exists("profile:user:1")


@pytest.mark.parametrize("statement", ["SELECT count(*) FROM profile_cache", "SELECT pg_advisory_xact_lock(1)"])
def test_a_transaction_that_blocks_nobody_is_not_named(statement: str) -> None:
    with held(statement):
        assert locks.blocking_session() is None


def test_the_first_of_a_queue_is_named() -> None:
    """The second session waits too, so ending it would not help those that wait for it."""

    def wait_for_lock() -> None:
        with open_session("waiting") as session, session.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(1)")

    with held("SELECT pg_advisory_xact_lock(1)") as first:
        waiting = [threading.Thread(target=wait_for_lock) for _ in range(2)]
        for thread in waiting:
            thread.start()
        seconds_until(lambda: locks.blocking_session() is not None)
        found = locks.blocking_session()
        assert found is not None
        assert (found.pid, found.name) == (first.info.backend_pid, "psql")
    for thread in waiting:
        thread.join()


@pytest.mark.usefixtures("impatient")
def test_a_blocked_statement_is_given_up() -> None:
    with held("LOCK TABLE profile_cache IN ACCESS EXCLUSIVE MODE"):
        with within(60), pytest.raises(OperationalError) as raised:
            Profile.objects.first()
        assert locks.is_lock_timeout(raised.value)
    assert Profile.objects.first() is None


@pytest.mark.usefixtures("impatient")
def test_alerts_are_checked_and_name_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INDICATORS, "blocking_session", replace(INDICATORS["blocking_session"], limit=0.0))
    with held("LOCK TABLE webhook_inbox, employees IN ACCESS EXCLUSIVE MODE") as session:
        with within(60):
            engine.check_alerts()
        alert = Alert.objects.get(kind=Kind.LOCK_HELD)
        pid = session.info.backend_pid
        assert alert.data | {"seconds": 0} == {
            "pid": pid, "application": "psql", "state": "idle in transaction", "seconds": 0
        }  # fmt: skip
        assert alert.message.startswith(f"PostgreSQL process {pid} (psql, idle in transaction) has held a lock for ")
        assert f"To end that process, run “SELECT pg_terminate_backend({pid})”" in alert.message
        assert "ACCESS EXCLUSIVE" not in json.dumps([alert.data, alert.words, alert.message])
    # What waits for the lock is missing in the check, so it counts as a check, but not as one of all alerts.
    assert engine.last_check().is_running


@pytest.mark.long
def test_health_names_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INDICATORS, "blocking_session", replace(INDICATORS["blocking_session"], limit=0.0))
    out = StringIO()
    with held("LOCK TABLE webhook_inbox IN ACCESS EXCLUSIVE MODE") as session:
        pid = session.info.backend_pid
        with within(90), pytest.raises(CommandError):
            call_command("health", "--url", "http://127.0.0.1:1", stdout=out)
    line = next(line for line in out.getvalue().splitlines() if line.startswith("postgresql"))
    assert line.startswith("postgresql  DOWN")
    assert f"PostgreSQL process {pid} (psql, idle in transaction) has held a lock for" in line


@pytest.mark.usefixtures("impatient")
def test_an_update_that_waits_for_a_lock_delays_no_other(phases: Phases) -> None:
    phases(100, 100)
    add_profile("1", "Старое")
    body = '{"update_type":"bot_started","timestamp":%d,"user":{"user_id":%d,"first_name":"Анна"}}'
    now = int(time.time() * 1000)
    updates = [row(State.PENDING, body=(body % (now, number)).encode()) for number in (1, 2, 3)]
    with held("SELECT 1 FROM profile_cache WHERE user_id = '1' FOR UPDATE"):
        with within(60):
            processing.process_inbox()
        states = dict(InboxUpdate.objects.values_list("pk", "state"))
        assert [states[update.pk] for update in updates] == [State.PENDING, State.DONE, State.DONE]
        for _ in range(8):
            InboxUpdate.objects.update(next_try_at="2020-01-01T00:00Z")
            processing.process_inbox()
        assert InboxUpdate.objects.get(pk=updates[0].pk).state == State.PENDING
    InboxUpdate.objects.update(next_try_at="2020-01-01T00:00Z")
    processing.process_inbox()
    assert InboxUpdate.objects.get(pk=updates[0].pk).state == State.DONE
    assert Profile.objects.get(user_id="1").first_name == "Анна"


@pytest.mark.long
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("table", ["profile_cache", "phone_links"])
def test_many_locked_people_delay_no_other(
    phases: Phases, settings: Settings, given_up: list[Exception], table: str
) -> None:
    """Somebody has forgotten a transaction that has updated many rows: one wait finds them all."""
    phases(100, 100)
    settings.MAX_BOT_TOKEN = TOKEN
    people = range(1, 61)
    made = [row(State.PENDING, body=_contact(number)) for number in people]
    processing.process_inbox()
    InboxUpdate.objects.all().delete()
    made = [row(State.PENDING, body=_contact(number)) for number in range(1, 81)]
    with held(f"UPDATE {table} SET user_id = user_id"):  # noqa: S608 (constants)
        assert processing.process_inbox() == 20
        assert len(given_up) == 1
        states = dict(InboxUpdate.objects.values_list("pk", "state"))
        assert [states[update.pk] for update in made] == [*[State.PENDING] * 60, *[State.DONE] * 20]
        InboxUpdate.objects.update(next_try_at="2020-01-01T00:00Z")
        # They are known now, so nothing waits.
        made.append(row(State.PENDING, body=_contact(99)))
        assert processing.process_inbox() == 1
        assert len(given_up) == 1
    InboxUpdate.objects.update(next_try_at="2020-01-01T00:00Z")
    assert processing.process_inbox() == 60
    assert not processing._maybe_locked


def test_batches_of_two_processes_do_not_wait_for_each_other(
    phases: Phases, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has locked a phone, as a batch does first, and then needs the profile of a suspect."""
    monkeypatch.setattr(processing, "BATCH_SECONDS", PATIENCE)
    phases(100, 100)
    settings.MAX_BOT_TOKEN = TOKEN
    for number in (1, 2):
        row(State.PENDING, body=_contact(number))
    assert processing.process_inbox() == 2
    InboxUpdate.objects.all().delete()
    for number in (1, 2):
        row(State.PENDING, body=_contact(number))
    phone = PhoneLink.objects.get(user_id="2").phone
    processing._maybe_locked.add("1")

    def go_on(other: psycopg.Connection) -> None:
        seconds_until(lambda: other.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone())
        other.execute("SELECT FROM profile_cache WHERE user_id = '1' FOR UPDATE NOWAIT")
        other.commit()

    with open_session() as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT FROM phone_links WHERE phone = %s FOR UPDATE", [phone])
        done = pool.submit(go_on, other)
        assert processing.process_inbox() == 2
        done.result()
    assert not processing._maybe_locked


def _contact(number: int) -> bytes:
    """Return a message in which a person shares their phone."""
    card = f"BEGIN:VCARD\r\nTEL:+7916555{number:04}\r\nEND:VCARD"
    signature = hmac.new(TOKEN.encode(), card.encode(), hashlib.sha256).hexdigest()
    contact = {"type": "contact", "payload": {"vcf_info": card, "hash": signature}}
    return json.dumps(message(number, at=timezone.now(), body={"mid": "c", "attachments": [contact]})).encode()


@pytest.mark.usefixtures("impatient")
def test_many_updates_of_a_locked_profile_wait_once(phases: Phases, given_up: list[Exception]) -> None:
    phases(100, 100)
    add_profile("1", "Старое")
    body = b'{"update_type":"bot_started","timestamp":1,"user":{"user_id":%d,"first_name":"Anna"}}'
    old, new = (timedelta(minutes=minutes) for minutes in (1, 0))
    made = [row(State.PENDING, age, body=body % number) for age in (old, new) for number in [*[1] * 10, 2]]
    with held("SELECT 1 FROM profile_cache WHERE user_id = '1' FOR UPDATE"):
        before = timezone.now()
        processing.process_inbox()
        after = timezone.now()
    assert len(given_up) == 1
    states = dict(InboxUpdate.objects.values_list("pk", "state"))
    assert [states[update.pk] for update in made] == [*[State.PENDING] * 10, State.DONE] * 2
    due = dict(InboxUpdate.objects.values_list("pk", "next_try_at"))
    # Half of its age, and at least five seconds.
    for update, least in ((made[0], 30), (made[-2], 5)):
        pause = timedelta(seconds=least)
        assert before + pause <= due[update.pk] <= after + max(pause, (after - update.received_at) / 2)
    InboxUpdate.objects.update(next_try_at="2020-01-01T00:00Z")
    assert processing.process_inbox() == 20
