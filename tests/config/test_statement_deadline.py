import socket
import time
from collections.abc import Iterator
from typing import NoReturn

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from config.postgres import base, pooler
from config.postgres.base import DeadlineConnection, parameters, statement_deadline
from employees.models import Employee, University
from profiles.rollout import standby
from tests.waiting import await_cancellations, pass_deadline, seconds_until, within


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    await_cancellations(monkeypatch)


def query(seconds: float = 0) -> object:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])
        return cursor.fetchone()


@pytest.mark.django_db(transaction=True)
def test_it_waits_no_longer() -> None:
    with within(30), pytest.raises(OperationalError), statement_deadline(0.1):
        query(60)
    assert query() is not None


@pytest.mark.django_db(transaction=True)
def test_without_time_nothing_is_asked() -> None:
    connection.close()
    with pytest.raises(OperationalError), statement_deadline(0):
        query()
    with statement_deadline(60):
        assert query() is not None


@pytest.fixture
def locked(transactional_db: None) -> Iterator[None]:
    """Hold a lock on employees in another session."""
    with psycopg.connect(**parameters()) as other:
        other.execute("LOCK employees IN ACCESS EXCLUSIVE MODE")
        yield


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("locked")
def test_the_statement_ends_on_the_server_too() -> None:
    with statement_deadline(60), connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        before = cursor.fetchone()
    with pytest.raises(OperationalError), statement_deadline(0.1):
        Employee.objects.count()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == before
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        assert cursor.fetchone() == (0,)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("locked")
def test_a_slow_cancellation_goes_on_without_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that waits for a lock, as a commit that waits for a standby, outlives a client that only leaves."""

    def cancel_safe(_: object, *, timeout: float) -> NoReturn:
        time.sleep(timeout)
        raise psycopg.errors.CancellationTimeout("cancellation timeout expired")

    monkeypatch.setattr(DeadlineConnection, "cancel_safe", cancel_safe)
    started = time.monotonic()
    with pytest.raises(OperationalError), statement_deadline(0.1):
        Employee.objects.count()
    assert time.monotonic() - started < 30
    with psycopg.connect(**parameters(), autocommit=True) as other:
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        seconds_until(lambda: not other.execute(waiting).fetchall())


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("locked")
def test_a_transaction_is_rolled_back() -> None:
    University.objects.create(name="before")

    @transaction.atomic
    def create_and_count() -> None:
        University.objects.create(name="inside")
        Employee.objects.count()

    with pytest.raises(OperationalError), statement_deadline(0.3):
        create_and_count()
    assert not connection.in_atomic_block
    assert [university.name for university in University.objects.all()] == ["before"]


@pytest.mark.django_db(transaction=True)
def test_what_is_stored_after_a_late_transaction_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a second after the deadline, a transaction may still be rolled back, and its connection stays open."""

    @transaction.atomic
    def create_late() -> None:
        University.objects.create(name="inside")
        pass_deadline()
        raise ValueError

    for name in ("GRACE_SECONDS", "_CANCEL_SECONDS"):
        monkeypatch.setattr(base, name, 60.0)
    with pytest.raises(ValueError), statement_deadline(60):  # noqa: PT011 (ours)
        create_late()
    University.objects.create(name="after")
    with psycopg.connect(**parameters()) as other:
        assert other.execute("SELECT name FROM universities").fetchall() == [("after",)]


@pytest.mark.django_db(transaction=True)
def test_a_standby_confirms_a_late_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((base, "GRACE_SECONDS"), (base, "_CANCEL_SECONDS"), (standby, "GRACE_SECONDS")):
        monkeypatch.setattr(module, name, 60.0)
    with statement_deadline(60):
        with transaction.atomic():
            University.objects.create(name="late")
            monkeypatch.setattr(connection, "confirm_seconds", 60.0)
            pass_deadline()
        assert standby.is_confirmed()


@pytest.mark.django_db(transaction=True)
def test_connecting_takes_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        connection.close()
        monkeypatch.setitem(connection.settings_dict, "HOST", host)
        monkeypatch.setitem(connection.settings_dict, "PORT", port)
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "connect_timeout", 60)
        with within(30), pytest.raises(OperationalError), statement_deadline(0.2):
            query()
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_took_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline passes after the server has accepted the connection, and before its first query."""
    opened: list[psycopg.Connection] = []

    def recognise_late(conn: psycopg.Connection) -> object:
        opened.append(conn)
        pass_deadline()
        return pooler.recognise(conn)

    monkeypatch.setattr(base, "recognise", recognise_late)
    connection.close()
    with pytest.raises(OperationalError), statement_deadline(60):
        query()
    assert opened[0].closed
