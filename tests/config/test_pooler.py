"""Over a pooler nothing is left in a session; tests/stores has the same with PgBouncer itself."""

import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from django.db import connection, transaction

from config.lib import sql
from config.postgres import pooler
from config.postgres.base import DeadlineConnection, parameters
from config.postgres.pooler import Pooling
from tests import loops
from webhooks import inbox
from webhooks.inbox import Arrival
from webhooks.models import InboxUpdate
from webhooks.notify import NOTIFY, listen, wait

pytestmark = pytest.mark.django_db(transaction=True)
_POOLED = Pooling(is_pooled=True, prepares=False)


@pytest.fixture
def pooled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have connections take PostgreSQL for a pooler that keeps no prepared statements."""

    def pooling_of(_pgconn: object) -> Generator[None, None, Pooling]:
        yield from ()
        return _POOLED

    monkeypatch.setattr(pooler, "_pooling_of", pooling_of)
    connection.close()
    yield
    connection.close()


def test_a_direct_connection_is_recognised() -> None:
    connection.close()
    connection.ensure_connection()
    assert connection.connection.pooling == Pooling(is_pooled=False, prepares=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        assert cursor.fetchone() == (0,)


@pytest.mark.usefixtures("pooled")
def test_it_prepares_nothing() -> None:
    async def store() -> list[object]:
        async with await inbox.connect() as conn:
            for number in range(8):
                reason = "тело не JSON" if number % 2 else ""
                key, at = bytes([number]) * 32, datetime.now(UTC)
                await inbox.store(conn, [Arrival(key, None, b"{}", "other", reason, at) for _ in range(2)])
            return list(await (await conn.execute("SELECT name FROM pg_prepared_statements")).fetchall())

    assert loops.run(store()) == []
    assert InboxUpdate.objects.count() == 8
    with transaction.atomic():
        for _ in range(8):
            sql.run("SELECT %b::bigint", [1])
        assert sql.run("SELECT count(*) FROM pg_prepared_statements", []) == [(0,)]


@pytest.mark.usefixtures("pooled")
def test_it_listens_for_nothing_and_sweeps() -> None:
    with listen() as listener:
        assert listener.execute("SELECT count(*) FROM pg_listening_channels()").fetchone() == (0,)
        connection.cursor().execute(NOTIFY.decode())
        started = time.monotonic()
        wait(listener, 0.3)
        assert time.monotonic() - started >= 0.3


@pytest.mark.usefixtures("pooled")
def test_a_cursor_is_kept_on_the_server_only_in_a_transaction() -> None:
    with connection.chunked_cursor() as cursor:
        assert not isinstance(cursor.cursor, psycopg.ServerCursor)
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        assert isinstance(cursor.cursor, psycopg.ServerCursor)


def test_a_lock_is_that_of_a_transaction() -> None:
    locks = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND state = %s"
    with DeadlineConnection.connect(**parameters(), autocommit=True) as other:
        with sql.try_lock(1234) as has_lock, sql.try_lock(1234) as has_too:
            assert (has_lock, has_too) == (True, False)
            assert other.execute(locks, ["idle in transaction"]).fetchone() == (1,)
            assert other.execute(locks, ["idle"]).fetchone() == (0,)
            # The block may commit.
            with transaction.atomic():
                InboxUpdate.objects.count()
            assert other.execute("SELECT pg_try_advisory_lock(1234)").fetchone() == (False,)
        assert other.execute("SELECT pg_try_advisory_lock(1234)").fetchone() == (True,)


def test_a_frozen_process_loses_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block sends nothing, as a process that is stopped."""
    setting, has_lock_of = "idle_in_transaction_session_timeout", sql._has_lock

    def has_lock_shortly(holder: psycopg.Connection, key: int) -> bool:
        has_lock = has_lock_of(holder, key)
        if holder.execute(f"SHOW {setting}").fetchone() == ("1min",):
            # Set before, so short a limit may end the session of a busy machine before it has the lock.
            holder.execute(f"SET LOCAL {setting} = 100")
        return has_lock

    monkeypatch.setattr(sql, "_has_lock", has_lock_shortly)
    with sql.try_lock(1234, longest_seconds=60) as has_lock:
        assert has_lock
        with sql.try_lock(1234, wait_seconds=30) as has_too:
            assert has_too


def test_a_failing_block_releases_the_lock() -> None:
    with pytest.raises(ZeroDivisionError), sql.try_lock(1234):
        raise ZeroDivisionError
    with sql.try_lock(1234) as has_lock:
        assert has_lock
