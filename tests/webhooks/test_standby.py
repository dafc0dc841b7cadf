"""A commit that waits for a synchronous standby is no success when it is cancelled, although PostgreSQL reports one."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.waiting import Ready, Wait

from config.postgres.base import DeadlineConnection, parameters, statement_deadline
from tests import loops
from tests.servers import FaultyServer
from tests.waiting import PATIENCE, await_cancellations, seconds_until
from webhooks import inbox
from webhooks.inbox import Arrival, InboxConnection, store

# What the receiver writes to.
_TABLES = """
CREATE TABLE IF NOT EXISTS webhook_inbox (dedup_key bytea UNIQUE, body bytea, update_type text, state text,
    reason text, received_at timestamptz, next_try_at timestamptz, finished_at timestamptz, request_id text);
CREATE TABLE IF NOT EXISTS webhook_repeats (
    dedup_key bytea, update_type text, is_conflict boolean, received_at timestamptz);
"""
INSERT = "INSERT INTO received DEFAULT VALUES"


def waits_for_standby(watching: psycopg.Connection, pid: int) -> bool:
    row = watching.execute("SELECT wait_event FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    return row == ("SyncRep",)


def commits_wait(watching: psycopg.Connection, url: str) -> bool:
    """Return whether a commit waits for the standby, and end it then."""
    with closing(psycopg.connect(url, autocommit=True)) as session:
        session.pgconn.send_query(INSERT.encode())
        session.pgconn.flush()
        while session.pgconn.is_busy():
            if waits_for_standby(watching, session.info.backend_pid):
                watching.execute("SELECT pg_cancel_backend(%s)", [session.info.backend_pid])
                return True
            session.pgconn.consume_input()
    return False


@pytest.fixture
def url(durable_postgres: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URL of a server whose commits wait for a standby that does not exist.

    For the receiver's connection, the deadline has come as soon as its commit waits, and not before.
    """
    with psycopg.connect(durable_postgres.url, autocommit=True) as connection:
        ready = InboxConnection._ready

        async def ready_or_waiting(inbox_connection: InboxConnection, state: Wait) -> Ready:
            has_deadline = inbox_connection.deadline is not None and not inbox_connection.was_cancelled
            while True:
                inbox_connection._ends_at = time.monotonic() + 0.05
                event = await ready(inbox_connection, state)
                is_over = has_deadline and waits_for_standby(connection, inbox_connection.info.backend_pid)
                if event != Ready.NONE or is_over:
                    return event

        monkeypatch.setattr(InboxConnection, "_ready", ready_or_waiting)
        monkeypatch.setattr(inbox, "_CANCEL_SECONDS", PATIENCE)
        await_cancellations(monkeypatch)
        connection.execute("CREATE TABLE IF NOT EXISTS received (id serial)")
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        connection.execute("SELECT pg_reload_conf()")
        seconds_until(lambda: commits_wait(connection, durable_postgres.url))
        yield durable_postgres.url
        connection.execute("SET synchronous_commit = local")
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        connection.execute("SELECT pg_reload_conf()")


@pytest.mark.long
def test_the_receiver_reports_a_failure(url: str) -> None:
    async def receive() -> None:
        async with await InboxConnection.connect(url, autocommit=True) as connection:
            connection.deadline = time.monotonic() + PATIENCE
            await connection.run_prepared(b"insert", INSERT.encode(), [], [])

    with pytest.raises(psycopg.OperationalError, match="standby"):
        loops.run(receive())


def test_nor_is_a_commit_that_an_administrator_cancels(url: str) -> None:
    async def receive() -> None:
        async with await InboxConnection.connect(url, autocommit=True) as connection:
            await connection.execute("SELECT 1")
            ended = asyncio.create_task(asyncio.to_thread(end_wait, connection.info.backend_pid))
            with pytest.raises(psycopg.OperationalError, match="standby"):
                await connection.run_prepared(b"insert", INSERT.encode(), [], [])
            await ended
            await connection.run_prepared(b"select", b"SELECT 1", [], [])

    def end_wait(pid: int) -> None:
        with psycopg.connect(url, autocommit=True) as watching:
            seconds_until(lambda: waits_for_standby(watching, pid))
            watching.execute("SELECT pg_cancel_backend(%s)", [pid])

    loops.run(receive())


@pytest.mark.long
@pytest.mark.parametrize("is_autocommit", [True, pytest.param(False, marks=pytest.mark.integration)])
def test_so_does_django(url: str, is_autocommit: bool) -> None:
    with DeadlineConnection.connect(url, autocommit=is_autocommit) as connection:

        def commit() -> None:
            connection.execute(INSERT)
            connection.commit()

        with pytest.raises(psycopg.errors.QueryCanceled), statement_deadline(3):
            commit()
        connection.close()


async def deliver(url: str, arrival: Arrival) -> None:
    async with await InboxConnection.connect(url, autocommit=True) as connection:
        connection.deadline = time.monotonic() + PATIENCE
        await store(connection, [arrival])


@pytest.mark.long
def test_a_second_delivery_is_no_success_either(url: str) -> None:
    """The first has committed the update on this server; the standby may lack it still."""
    arrival = Arrival(b"k" * 32, None, b"{}", "other", "", datetime.now(UTC), "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = local")
        connection.execute(_TABLES)

    for _ in range(3):
        with pytest.raises(psycopg.OperationalError, match="standby"):
            loops.run(deliver(url, arrival))


async def fail(*_arguments: object) -> None:
    raise psycopg.OperationalError


def test_nor_is_one_that_cannot_be_counted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit that counts it would have shown that the standby has the first."""
    arrival = Arrival(b"7" * 32, None, b"{}", "other", "", datetime.now(UTC), "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = local")
        connection.execute(_TABLES)
    monkeypatch.setattr(inbox, "_record_duplicates", fail)

    for _ in range(2):
        with pytest.raises(psycopg.OperationalError, match="standby"):
            loops.run(deliver(url, arrival))


@pytest.mark.django_db(transaction=True)
def test_without_a_standby_it_counts_as_received(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "_record_duplicates", fail)
    arrival = Arrival(b"9" * 32, None, b"{}", "other", "", datetime.now(UTC), "")

    async def deliver() -> None:
        async with await inbox.connect() as connection:
            connection.deadline = time.monotonic() + PATIENCE
            for _ in range(2):
                await store(connection, [arrival])

    loops.run(deliver())


@pytest.mark.django_db(transaction=True)
def test_duplicates_are_received_while_the_table_of_their_counts_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that is left is enough to learn that nothing waits for a standby."""
    monkeypatch.setattr(inbox, "_CANCEL_SECONDS", PATIENCE)
    monkeypatch.setattr(inbox, "_PROBE_SECONDS", PATIENCE)
    first, new = (Arrival(bytes([n]) * 32, None, b"{}", "other", "", datetime.now(UTC), "") for n in (1, 2))

    async def deliver() -> None:
        async with await inbox.connect() as connection:
            connection.deadline = time.monotonic() + PATIENCE
            await store(connection, [first])
            for arrivals in ([first], [first, new]):
                connection.deadline = time.monotonic() + PATIENCE + 0.3
                await store(connection, arrivals)

    with psycopg.connect(**parameters()) as other:
        other.execute("LOCK webhook_repeats")
        loops.run(deliver())


@pytest.mark.long
def test_the_receiver_goes_on_if_an_administrator_does_without_it(url: str) -> None:
    """Also the connection that was open before."""
    updates = [Arrival(bytes([n]) * 32, None, b"{}", "other", "", datetime.now(UTC), "") for n in range(2)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = local")
        connection.execute(_TABLES)

    async def deliver() -> None:
        async with await InboxConnection.connect(url, autocommit=True) as connection:
            connection.deadline = time.monotonic() + PATIENCE
            with pytest.raises(psycopg.OperationalError, match="standby"):
                await store(connection, updates[:1])
            await asyncio.to_thread(do_without_standby)
            connection.deadline = None
            while await setting_of(connection) != "local":  # noqa: ASYNC110 (no event comes with it)
                await asyncio.sleep(0.02)
            for again in (updates, updates):
                connection.deadline = time.monotonic() + PATIENCE
                await store(connection, again)

    def do_without_standby() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_commit = local")
            connection.execute("SELECT pg_reload_conf()")

    async def setting_of(connection: InboxConnection) -> str:
        row = await (await connection.execute("SHOW synchronous_commit")).fetchone()
        return str(row[0]) if row else ""

    loops.run(deliver())
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM webhook_inbox").fetchone() == (2,)
