"""A synchronous standby that is lost is reported by /ready, `make health` and an alert, which do not wait for it."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
import time_machine
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone, translation

from config import celery
from config.postgres import locks
from config.postgres.base import (
    CommitNotConfirmed,
    CommitUnanswered,
    DatabaseWrapper,
    DeadlineConnection,
    statement_deadline,
    without_standby,
)
from config.postgres.checks import check_durability
from monitoring import tasks
from monitoring.alerts import engine, outbox
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from monitoring.indicators.models import IndicatorReading
from monitoring.management.commands import health
from profiles.rollout.heartbeat import heartbeat_thread
from tests.lost_standby import end_waits, lose_standby, set_option
from tests.servers import FaultyServer

REASON = "PostgreSQL has been waiting for a synchronous standby"
SENTENCE = (
    f"{REASON} for %d s. Changes that the standby has not confirmed are on this server only, and a failover would"
    " lose them. Start the standby, or remove it from synchronous_standby_names."
)
INSERT = "INSERT INTO kept DEFAULT VALUES"

pytestmark = pytest.mark.usefixtures("patient_cancellations")


@pytest.fixture
def server(durable_postgres: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Let Django use a server whose commits wait for a standby that does not exist."""
    with psycopg.connect(durable_postgres.url, autocommit=True) as admin:
        admin.execute("CREATE TABLE kept (id serial)")
        lose_standby(admin)
    connection.close()
    options = {"HOST": durable_postgres.url.partition("host=")[2], "NAME": "directory"}
    monkeypatch.setattr(connection, "settings_dict", connection.settings_dict | options)
    yield durable_postgres
    connection.close()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_it_finds_a_commit_that_waits(server: FaultyServer) -> None:
    def store() -> None:
        with suppress(psycopg.OperationalError), psycopg.connect(server.url, application_name="directory-web") as other:
            other.execute(INSERT)

    assert locks.standby_wait() is None
    thread = threading.Thread(target=store)
    thread.start()
    deadline = time.monotonic() + 60
    while (found := locks.standby_wait()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found is not None
    assert (found.name, 0.5 <= found.seconds < 60) == ("directory-web", True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_cancel_backend(%s)", [found.pid])
    thread.join()
    assert locks.standby_wait() is None


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_transaction_may_do_without_it(server: FaultyServer) -> None:
    with without_standby(), statement_deadline(60), connection.cursor() as cursor:
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


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that has a commit wait for the standby, for this many seconds now."""

    def wait(seconds: float) -> None:
        session = locks.Session(4711, "directory-inbox", "active", seconds)
        monkeypatch.setattr(locks, "standby_wait", lambda: session)

    return wait


def measured() -> IndicatorReading:
    return rounds.measure(["blocking_session"])["blocking_session"]


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "phases")
def test_every_surface_has_the_same_sentence(waiting: Callable[[float], None], client: Client) -> None:
    assert REASON not in client.get("/ready").json().get("reason", "")
    waiting(7.4)
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    is_up, details = health._postgresql({})
    assert (is_up, details.partition("; ")[2]) == (False, SENTENCE % 7)
    engine.check_alerts()
    alert = Alert.objects.get(kind=Kind.LOCK_HELD)
    assert (alert.severity, alert.message) == ("critical", SENTENCE % 7)
    assert SENTENCE % 7 in answer.json()["reason"].split("; ")
    assert alert.data == {
        "pid": 4711, "application": "directory-inbox", "state": "waiting for a standby", "seconds": 7
    }  # fmt: skip
    with translation.override("ru"):
        assert alert.text.startswith("PostgreSQL ждёт синхронную реплику уже 7 с")


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "phases")
def test_a_single_wait_is_no_alert(waiting: Callable[[float], None], client: Client) -> None:
    """The standby may have been busy for a moment. Only /ready shows it, which nobody is called for."""
    waiting(0.6)
    assert measured().level == "ok"
    assert health._postgresql({})[0]
    with time_machine.travel(timezone.now(), tick=False) as clock:
        engine.check_alerts()
        clock.shift(2)
        answer = client.get("/ready")
    assert not Alert.objects.filter(kind=Kind.LOCK_HELD).exists()
    assert SENTENCE % 3 in answer.json()["reason"]


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "phases")
def test_short_waits_that_last_are_an_alert(
    waiting: Callable[[float], None], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request gives up after seconds, so no single wait is long while the standby is lost."""
    now = timezone.now().replace(microsecond=0)
    with time_machine.travel(now, tick=False) as clock:
        waiting(1.0)
        rounds.take_round()
        for seconds in (30, 60, 90):
            clock.shift(30)
            reading = measured()
            assert (reading.level, reading.data["seconds"]) == ("critical", seconds + 1)
            rounds.take_round()
        assert SENTENCE % 91 in client.get("/ready").json()["reason"]
        with monkeypatch.context() as patched:
            patched.setattr(locks, "standby_wait", lambda: None)
            assert measured().level == "ok"
        # Another one, much later.
        clock.shift(61)
        assert measured().level == "ok"


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("block", "is_slow"), [(transaction.atomic, True), (nullcontext, False)])
def test_the_worker_gives_up_a_commit(
    server: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
    block: Callable[[], AbstractContextManager[None]],
    is_slow: bool,
) -> None:
    """It runs one task at a time, and the check of the alerts is one of them."""
    for name in ("commit_seconds", "lock_timeout_ms"):
        monkeypatch.setattr(DatabaseWrapper, name, getattr(DatabaseWrapper, name))
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 0.5)
    monkeypatch.setattr(heartbeat_thread, "start", lambda _kind: None)
    if is_slow:
        monkeypatch.setattr(DeadlineConnection, "cancel_safe", _cancel_slowly)
    celery.start_child()
    # Without a limit, it would wait until the task's time is over.
    timer = threading.Timer(40, _end_waits, [server.url])
    timer.start()
    with pytest.raises(OperationalError) as failed, block(), connection.cursor() as cursor:
        cursor.execute(INSERT)
    assert isinstance(failed.value, CommitUnanswered if is_slow else CommitNotConfirmed)
    assert timer.is_alive()
    timer.cancel()
    with psycopg.connect(server.url, autocommit=True) as admin:
        deadline = time.monotonic() + 10
        while admin.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'").fetchone():
            assert time.monotonic() < deadline, "the session keeps its locks"
            time.sleep(0.05)
    with without_standby(), block(), connection.cursor() as cursor:
        cursor.execute(INSERT)


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_wait_that_an_administrator_ends_is_no_success(server: FaultyServer, end: str) -> None:
    """PostgreSQL reports a success to whoever waits, after a warning."""

    def end_wait() -> None:
        with psycopg.connect(server.url, autocommit=True) as admin:
            while not admin.execute(f"SELECT {end}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").rowcount:  # noqa: S608
                time.sleep(0.02)

    blocks: list[Callable[[], AbstractContextManager[None]]] = [transaction.atomic, nullcontext]
    for count, block in enumerate(blocks, 1):
        thread = threading.Thread(target=end_wait)
        thread.start()
        with pytest.raises(CommitNotConfirmed), block(), connection.cursor() as cursor:
            cursor.execute(INSERT)
        thread.join()
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM kept")
            assert cursor.fetchone() == (count,)


def _cancel_slowly(_: object, *, timeout: float) -> NoReturn:
    time.sleep(timeout)
    raise psycopg.errors.CancellationTimeout("cancellation timeout expired")


def _end_waits(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        end_waits(admin)


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_an_administrator_may_go_on_without_it(server: FaultyServer) -> None:
    """With ``local``, as without synchronous_standby_names: a session waits for one commit more at most."""
    connection.ensure_connection()
    with psycopg.connect(server.url, autocommit=True) as admin:
        set_option(admin, "synchronous_commit = local")
    with suppress(OperationalError), statement_deadline(0.3), connection.cursor() as cursor:
        cursor.execute(INSERT)
    for block in (transaction.atomic, nullcontext):
        with statement_deadline(60), block(), connection.cursor() as cursor:
            cursor.execute(INSERT)
    assert [message.id for message in check_durability(None)] == ["postgres.W001"]


@pytest.mark.django_db
def test_a_short_wait_does_not_hide_a_lock(waiting: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    waiting(0.6)
    monkeypatch.setattr(locks, "blocking_session", lambda: locks.Session(2, "psql", "idle", 300.0))
    assert (measured().value, measured().data["pid"]) == (300, 2)


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "phases")
@pytest.mark.parametrize("pid", [4711, 2])
def test_a_blocked_session_does_not_hide_a_lost_standby(
    waiting: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, pid: int
) -> None:
    """A commit that waits for a standby keeps its locks, so it is often itself the session that blocks others."""
    now = timezone.now().replace(microsecond=0)
    waiting(2.0)
    monkeypatch.setattr(locks, "blocking_session", lambda: locks.Session(pid, "directory-inbox", "active", 2.0))
    with time_machine.travel(now, tick=False) as clock:
        readings = []
        for _ in range(10):
            readings.append(rounds.take_round()["blocking_session"])
            clock.shift(30)
        found = [(reading.level, reading.data["seconds"]) for reading in readings]
        assert found == [("ok", 2), *(("critical", 2 + 30 * number) for number in range(1, 10))]
        engine.check_alerts()
        assert Alert.objects.get(kind=Kind.LOCK_HELD).message == SENTENCE % 302


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["synchronous_standby_names = ''", "synchronous_commit = local"])
def test_the_statements_of_the_runbook_end_the_waits(server: FaultyServer, way: str) -> None:
    section = Path("docs/how-to/runbook.md").read_text().partition("\n## lock_held")[2].partition("\n## ")[0]
    without, terminate = (
        block for block in re.findall(r"```sql\n(.*?)```", section, re.DOTALL) if "AS age" not in block
    )
    assert f"ALTER SYSTEM SET {way}" in section
    ended: list[str] = []

    def command() -> None:
        with suppress(psycopg.OperationalError), DeadlineConnection.connect(server.url, autocommit=True) as session:
            session.execute(INSERT)
        ended.append(way)

    waiting = threading.Thread(target=command)
    with psycopg.connect(server.url, autocommit=True) as admin:
        waiting.start()
        deadline = time.monotonic() + 60
        while not admin.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'").fetchone():
            assert time.monotonic() < deadline
        statements = without
        if way not in without:
            set_option(admin, way)
            statements = terminate
        for statement in filter(str.strip, statements.split(";")):
            admin.execute(statement)
        waiting.join(30)
        is_over = bool(ended)
        # Also if the runbook is wrong, so that the thread ends.
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        waiting.join()
        assert is_over
        assert admin.execute("SELECT count(*) FROM kept").fetchone() == (1,)
    with statement_deadline(60), connection.cursor() as cursor:
        cursor.execute(INSERT)
