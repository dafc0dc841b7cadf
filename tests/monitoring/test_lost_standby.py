"""A synchronous standby that is lost is reported by /ready, `make health` and an alert, which do not wait for it."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import translation

from config.postgres import locks
from config.postgres.base import statement_deadline, without_standby
from monitoring import tasks
from monitoring.alerts import engine, outbox
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from monitoring.management.commands import health
from tests.servers import FaultyServer

REASON = "PostgreSQL waits for a synchronous standby"
INSERT = "INSERT INTO kept DEFAULT VALUES"


@pytest.fixture
def server(durable_postgres: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Let Django use a server whose commits wait for a standby that does not exist."""
    with psycopg.connect(durable_postgres.url, autocommit=True) as admin:
        admin.execute("CREATE TABLE kept (id serial)")
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        admin.execute("SELECT pg_reload_conf()")
    time.sleep(0.3)
    connection.close()
    options = {"HOST": durable_postgres.url.partition("host=")[2], "NAME": "directory"}
    monkeypatch.setattr(connection, "settings_dict", connection.settings_dict | options)
    yield durable_postgres
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_it_finds_a_commit_that_waits(server: FaultyServer) -> None:
    def store() -> None:
        with suppress(psycopg.OperationalError), psycopg.connect(server.url, application_name="directory-web") as other:
            other.execute(INSERT)

    assert locks.standby_wait() is None
    thread = threading.Thread(target=store)
    thread.start()
    deadline = time.monotonic() + 10
    while (found := locks.standby_wait()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found is not None
    assert (found.name, 0.5 <= found.seconds < 5) == ("directory-web", True)
    reading = rounds.measure(["blocking_session"])["blocking_session"]
    assert (reading.level, reading.data["pid"]) == ("critical", found.pid)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_cancel_backend(%s)", [found.pid])
    thread.join()
    assert locks.standby_wait() is None


@pytest.mark.django_db(transaction=True)
def test_a_transaction_may_do_without_it(server: FaultyServer) -> None:
    with without_standby(), statement_deadline(2), connection.cursor() as cursor:
        cursor.execute(INSERT)
        with transaction.atomic():
            cursor.execute(INSERT)
    with pytest.raises(OperationalError), statement_deadline(0.3), connection.cursor() as cursor:
        cursor.execute(INSERT)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("task", ["measure_indicators", "check_alerts", "deliver_alerts"])
def test_the_tasks_of_alerts_do_without_it(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def note(*_: object) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            found.append(cursor.fetchone())

    monkeypatch.setattr(rounds, "take_round", note)
    monkeypatch.setattr(engine, "check_alerts", note)
    monkeypatch.setattr(outbox, "deliver", note)
    getattr(tasks, task)()
    assert set(found) == {("local",)}


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "phases")
def test_it_is_reported(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    assert REASON not in client.get("/ready").json().get("reason", "")
    monkeypatch.setattr(locks, "standby_wait", lambda: locks.Session(4711, "directory-inbox", "active", 2.4))
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert REASON in answer.json()["reason"]
    is_up, details = health._postgresql({})
    assert (is_up, f"{REASON}, for 2 s now" in details) == (False, True)
    engine.check_alerts()
    alert = Alert.objects.get(kind=Kind.LOCK_HELD)
    assert (alert.severity, alert.message.startswith(f"{REASON}, for 2 s now")) == ("critical", True)
    assert alert.data == {
        "pid": 4711, "application": "directory-inbox", "state": "waiting for a standby", "seconds": 2
    }  # fmt: skip
    with translation.override("ru"):
        assert alert.text.startswith("PostgreSQL ждёт синхронную реплику уже 2 с")
