"""Write updates to the inbox on a separate connection, outside the transactions of Django's connection."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import psycopg
from psycopg import generators
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGresult
from psycopg.waiting import Ready, Wait

from config.postgres.base import END_OF_WAIT, WRITE_TO_LOG, parameters
from config.postgres.pooler import DIRECT, closed_on_error, durable, recognise
from webhooks import metrics

logger = logging.getLogger(__name__)
DUPLICATE_WINDOW = timedelta(minutes=10)
_CANCEL_SECONDS = 0.15


class Arrival(NamedTuple):
    """An update to be written to the inbox.

    ``dedup_key`` is the same for every delivery of the update. If this key is a hash of the body and a time window,
    ``previous_key`` is the hash for the previous window; otherwise ``previous_key`` is None. ``reason`` is the reason
    for quarantining the update, or ``""``.
    """

    dedup_key: bytes
    previous_key: bytes | None
    body: bytes
    update_type: str
    reason: str
    received_at: datetime
    request_id: str = ""


_INSERT = (
    "INSERT INTO webhook_inbox"
    " (dedup_key, body, update_type, state, reason, received_at, next_try_at, finished_at, request_id)"
)
_UNLESS_STORED = "ON CONFLICT (dedup_key) DO NOTHING RETURNING dedup_key"
_TYPES = [
    psycopg.adapters.types[name].oid
    for name in ("bytea", "bytea", "text", "timestamptz", "text", "text", "text", "timestamptz")
]
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_as_int64 = struct.Struct("!q").pack
_RECENT = "SELECT dedup_key FROM webhook_inbox WHERE dedup_key = ANY(%b) AND received_at > %b"
_BODIES = "SELECT dedup_key, body FROM webhook_inbox WHERE dedup_key = ANY(%b)"
_INSERT_DUPLICATES = f"""
INSERT INTO webhook_repeats (dedup_key, update_type, is_conflict, received_at)
SELECT * FROM unnest(%b::bytea[], %b::text[], %b::boolean[], %b::timestamptz[])
WHERE {durable("true")} <> ''
"""  # noqa: S608 (constants)
_PROBE_SECONDS = 0.6
_PROBE = f"{WRITE_TO_LOG} WHERE {durable('true')} <> ''"


class InboxConnection(psycopg.AsyncConnection):
    """An autocommit connection that cancels statements at ``deadline`` (monotonic seconds), raising psycopg.Error.

    The event loop keeps watching the socket between statements, and one timer serves many deadlines. A new watch and a
    new timer for each statement would nearly double the cost of a statement for this process.
    """

    deadline: float | None = None
    was_cancelled = False
    pooling = DIRECT
    # The functions of PostgreSQL that have sent a notice during the last statement.
    _noticed: set[str | None]
    _planned: frozenset[bytes] = frozenset()
    _waiting: asyncio.Future[Ready] | None = None
    _ends_at: float | None = None
    _timer: asyncio.TimerHandle | None = None
    _timer_at = 0.0
    # The number of the watched socket, which libpq no longer knows after it has closed the socket of a lost connection.
    _watched: int | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Each call of get_running_loop() is a system call.
        self._loop = asyncio.get_running_loop()
        self._noticed = noticed = set()
        self.add_notice_handler(lambda notice: noticed.add(notice.source_function))

    @contextmanager
    def earlier_deadline(self, seconds: float) -> Iterator[None]:
        """End the block's statements this many seconds before the deadline, to leave time for one more statement."""
        deadline = self.deadline
        if deadline is not None:
            self.deadline = deadline - seconds
        try:
            yield
        finally:
            self.deadline = deadline

    async def wait(self, gen: Any, interval: float = 0, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """Return the result of a psycopg generator, which yields whether it waits for reading, for writing or for both.

        This replaces psycopg's own method, which starts a task for each wait. At the deadline, cancel the statement,
        which may be waiting for a lock; raise OperationalError if the server does not react to the cancellation.
        """
        self._ends_at, self.was_cancelled = self.deadline, False
        self._noticed.clear()
        try:
            state = next(gen)
            while True:
                event = await self._ready(state)
                if event == Ready.NONE:
                    await self._cancel_once()
                else:
                    state = gen.send(event)
        except StopIteration as done:
            if self.pgconn.status == ConnStatus.BAD:
                self._unwatch()
            return done.value
        except BaseException:
            # Also if this task is cancelled: libpq may have closed the socket, and another socket may get its number.
            self._unwatch()
            raise

    async def _cancel_once(self) -> None:
        if self.was_cancelled:
            raise psycopg.OperationalError("PostgreSQL does not cancel the statement")
        self.was_cancelled = True
        await self.cancel_safe(timeout=_CANCEL_SECONDS)
        self._ends_at = time.monotonic() + _CANCEL_SECONDS

    async def _ready(self, state: Wait) -> Ready:
        """Wait until the socket is ready for reading or writing, depending on ``state``; return what it is ready for.

        Return Ready.NONE if it is not ready by the deadline.
        """
        waiting: asyncio.Future[Ready] = self._loop.create_future()
        self._waiting = waiting
        if self._watched is None:
            self._watched = self.pgconn.socket
            self._loop.add_reader(self._watched, self._resolve, Ready.R)
        if state & Wait.W:
            self._loop.add_writer(self._watched, self._resolve, Ready.W)
        if self._ends_at is not None and (self._timer is None or self._ends_at < self._timer_at):
            self._set_timer(self._ends_at)
        try:
            return await waiting
        finally:
            self._waiting = None
            if state & Wait.W and self._watched is not None:
                self._loop.remove_writer(self._watched)

    def _resolve(self, event: Ready) -> None:
        if self._waiting is None:
            # Nobody reads what has arrived, such as the end of the connection: it would be reported endlessly.
            self._unwatch()
        elif not self._waiting.done():
            self._waiting.set_result(event)

    def _set_timer(self, at: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(at - time.monotonic(), self._check_deadline)

    def _check_deadline(self) -> None:
        """End the wait if its deadline has passed; otherwise schedule the next check for the deadline."""
        self._timer = None
        if self._waiting is None or self._ends_at is None:
            return
        if time.monotonic() < self._ends_at:
            self._set_timer(self._ends_at)
        elif not self._waiting.done():
            self._waiting.set_result(Ready.NONE)

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._watched = None
        if self._timer:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        self._unwatch()
        await super().close()

    async def run_prepared(self, name: bytes, sql: bytes, types: list[int], values: list[bytes | None]) -> PGresult:
        """Run a statement, prepared once per connection under ``name``, and return its result.

        The values and the result are in PostgreSQL's binary format. Raise psycopg.Error if the database fails.
        """
        formats = [Format.BINARY] * len(values)
        if not self.pooling.prepares:
            self.pgconn.send_query_params(sql, values, types, formats, Format.BINARY)
            return await self._result()
        if name not in self._planned:
            self.pgconn.send_prepare(name, sql, types)
            await self._result()
            self._planned |= {name}
        self.pgconn.send_query_prepared(name, values, formats, Format.BINARY)
        return await self._result()

    async def _result(self) -> PGresult:
        result: PGresult = (await self.wait(generators.execute(self.pgconn)))[-1]
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            raise psycopg.errors.error_from_result(result)
        self.check_replicated()
        return result

    def check_replicated(self) -> None:
        """Raise OperationalError if a commit's wait for a synchronous standby was cancelled by this process or another.

        Such a commit has succeeded, but perhaps only on this server.
        """
        if self.was_cancelled or END_OF_WAIT in self._noticed:
            raise psycopg.OperationalError("the commit may not be on the standby")


async def connect() -> InboxConnection:
    opened = await InboxConnection.connect(**parameters(), autocommit=True)
    with closed_on_error(opened):
        await opened.wait(recognise(opened))
    return opened


async def store(conn: InboxConnection, arrivals: Sequence[Arrival]) -> None:
    """Commit the new arrivals with one statement, then record the others as duplicates.

    Raise psycopg.Error if the arrivals may not have been committed.
    """
    fresh = arrivals
    previous = {arrival.previous_key: arrival.received_at for arrival in arrivals if arrival.previous_key}
    if previous:
        since = max(previous.values()) - DUPLICATE_WINDOW
        rows = await conn.cursor(binary=True).execute(_RECENT, [list(previous), since])
        recent = {key async for (key,) in rows}
        fresh = [arrival for arrival in arrivals if arrival.previous_key not in recent]
    unique = {arrival.dedup_key: arrival for arrival in reversed(fresh)}
    # In the order of their keys, so that two processes that store the same updates cannot end in a deadlock.
    stored = await _insert(conn, sorted(unique.values())) if unique else set()
    if len(stored) < len(arrivals):
        firsts = {id(unique[key]) for key in stored}
        try:
            with conn.earlier_deadline(_PROBE_SECONDS):
                await _record_duplicates(conn, [arrival for arrival in arrivals if id(arrival) not in firsts])
        except psycopg.Error as error:
            # All updates are committed: a failure to count duplicates must not make the senders repeat the updates.
            logger.warning("duplicates not counted", extra={"event": "duplicates_lost", "error": type(error).__name__})
            if stored:
                return
            # No commit has shown yet that a standby has the first deliveries.
            await conn.execute(_PROBE)
        # This commit may be on this server only, and so may the commit of the first delivery.
        conn.check_replicated()


async def _insert(conn: InboxConnection, arrivals: Collection[Arrival]) -> set[bytes]:
    """Insert the arrivals; return the keys of those that were not stored before.

    This calls libpq directly, because binding so many values with a cursor would take more time than everything else.
    INSERT … VALUES needs a prepared statement for each number of rows, but takes PostgreSQL half the time of unnest().
    """
    values: list[bytes | None] = []
    is_sound = not any(arrival.reason for arrival in arrivals)
    for key, _previous, body, update_type, reason, at, request_id in arrivals:
        moment = _as_int64((at - _EPOCH) // _MICROSECOND)
        values += key, body, update_type.encode(), moment, request_id.encode()
        if not is_sound:
            state, finished_at = (b"quarantined", moment) if reason else (b"pending", None)
            values += state, reason.encode(), finished_at
    rows = len(arrivals)
    types = _TYPES[:5] if is_sound else _TYPES
    name = b"store %d sound" % rows if is_sound else b"store %d" % rows
    result = await conn.run_prepared(name, _statement(rows, is_sound), types * rows, values)
    if result.ntuples == rows:
        return {arrival.dedup_key for arrival in arrivals}
    return {result.get_value(row, 0) or b"" for row in range(result.ntuples)}


@cache
def _statement(rows: int, is_sound: bool) -> bytes:
    """Return the INSERT for this number of rows; it has fewer parameters if no row is quarantined (``is_sound``)."""
    # The fourth parameter of a row, the time of receipt, is used twice: it is also the time of the first attempt.
    row, size, state = "(${0}, ${1}, ${2}, STATE, '', ${3}, ${3}, NULL, ${4})", 5, "'pending'"
    if not is_sound:
        row, size, state = "(${0}, ${1}, ${2}, STATE, ${6}, ${3}, ${3}, ${7}, ${4})", 8, "${5}"
    # Evaluated once, it holds for this transaction: an acknowledged update must not be lost where an administrator has
    # set synchronous_commit to off.
    first = row.replace("STATE", f"CASE WHEN {durable('true')} <> '' THEN {state} END")
    templates = [first, *[row.replace("STATE", state)] * (rows - 1)]
    places = (template.format(*range(1 + n * size, 1 + (n + 1) * size)) for n, template in enumerate(templates))
    return f"{_INSERT} VALUES {', '.join(places)} {_UNLESS_STORED}".encode()


async def _record_duplicates(conn: InboxConnection, duplicates: Sequence[Arrival]) -> None:
    keys, _, bodies, types, _, received_at, _ = (list(column) for column in zip(*duplicates, strict=True))
    metrics.count_arrivals(types, "duplicate")
    rows = await conn.cursor(binary=True).execute(_BODIES, [keys])
    first_bodies: dict[bytes, bytes | None] = dict(await rows.fetchall())
    conflicts = [_differs(first_bodies.get(key), body) for key, body in zip(keys, bodies, strict=True)]
    await conn.cursor(binary=True).execute(_INSERT_DUPLICATES, (keys, types, conflicts, received_at))


def _differs(first: bytes | None, later: bytes) -> bool:
    """Return whether two bodies with the same key contain different JSON; False if the first body has been deleted."""
    if first is None or first == later:
        return False
    try:
        return bool(json.loads(first) != json.loads(later))
    except (RecursionError, ValueError):
        # The body is nested almost too deeply: it could be parsed on arrival, where fewer calls were on the stack. Or
        # it contains an integer of too many digits, which was read as null.
        return True
