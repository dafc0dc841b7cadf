"""The event loop watches the inbox connection's socket between statements, and one timer serves many deadlines."""

import asyncio
import struct
import time
from collections.abc import Iterator
from unittest import mock

import psycopg
import pytest
import uvloop

from tests import loops
from tests.waiting import PATIENCE
from webhooks import inbox
from webhooks.inbox import InboxConnection, connect

pytestmark = pytest.mark.django_db(transaction=True)
# Far beyond what a busy machine takes for a statement that does nothing.
_LATER = 3600.0
_SLEEP, _FLOAT = b"SELECT pg_sleep($1)", [psycopg.adapters.types["float8"].oid]
_seconds = struct.Struct("!d").pack


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """Return a loop of asyncio, then one of uvloop, as in the web server, which watches sockets in its own way."""
    loop: asyncio.AbstractEventLoop = request.param()
    yield loop
    loop.close()


async def run(conn: InboxConnection, sql: bytes) -> None:
    await conn.run_prepared(sql, sql, [], [])


async def terminate(conn: InboxConnection) -> None:
    """End the connection's session in PostgreSQL, and give the loop time to see it."""
    other = await connect()
    await other.execute("SELECT pg_terminate_backend(%s)", [conn.info.backend_pid])
    await other.close()
    await loops.until(lambda: conn._watched is None)


def test_a_statement_neither_begins_to_watch_nor_sets_a_timer() -> None:
    async def statements() -> tuple[int, int]:
        conn, loop = await connect(), asyncio.get_running_loop()
        conn.deadline = time.monotonic() + _LATER
        await run(conn, b"SELECT 1")
        with (
            mock.patch.object(loop, "add_reader", wraps=loop.add_reader) as add_reader,
            mock.patch.object(loop, "call_later", wraps=loop.call_later) as call_later,
        ):
            for _ in range(20):
                conn.deadline = time.monotonic() + _LATER
                await run(conn, b"SELECT 1")
        await conn.close()
        return add_reader.call_count, call_later.call_count

    assert asyncio.run(statements()) == (0, 0)


@pytest.mark.long
def test_each_statement_has_its_own_deadline(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    # The server may take long to react on a busy machine.
    monkeypatch.setattr(inbox, "_CANCEL_SECONDS", PATIENCE)

    async def statements() -> bool:
        conn = await connect()
        conn.deadline = time.monotonic() + _LATER
        await run(conn, b"SELECT 1")
        await conn.run_prepared(b"sleep", _SLEEP, _FLOAT, [_seconds(0)])
        # Earlier than the timer that the first statements have left.
        conn.deadline = time.monotonic() + 0.2
        with pytest.raises(psycopg.errors.QueryCanceled):
            await conn.run_prepared(b"sleep", _SLEEP, _FLOAT, [_seconds(600)])
        conn.deadline = time.monotonic() + _LATER
        # As if the timer of an earlier statement ended during this one.
        asyncio.get_running_loop().call_later(0.1, conn._check_deadline)
        await conn.run_prepared(b"sleep", _SLEEP, _FLOAT, [_seconds(0.5)])
        await conn.close()
        return conn.was_cancelled

    assert loop.run_until_complete(statements()) is False


def test_a_connection_that_ends_while_idle_is_no_longer_watched(loop: asyncio.AbstractEventLoop) -> None:
    async def use_after_end() -> None:
        conn = await connect()
        await run(conn, b"SELECT 1")
        await terminate(conn)
        with pytest.raises(psycopg.OperationalError):
            await run(conn, b"SELECT 1")
        assert conn._watched is None
        await conn.close()

    loop.run_until_complete(use_after_end())


def test_a_connection_that_ends_during_a_statement_is_no_longer_watched(loop: asyncio.AbstractEventLoop) -> None:
    async def end_during_statement() -> None:
        conn = await connect()
        conn.deadline = time.monotonic() + _LATER
        statement = asyncio.create_task(run(conn, b"SELECT pg_sleep(600)"))
        await loops.until(lambda: conn._waiting)
        await terminate(conn)
        with pytest.raises(psycopg.OperationalError):
            await statement
        # The next connection often gets the number of the closed socket.
        following = await connect()
        await run(following, b"SELECT 1")
        await following.close()
        await conn.close()

    loop.run_until_complete(end_during_statement())
