"""Write updates to the inbox on a separate connection, outside the transactions of Django's connection."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import psycopg
from django.db import connection
from psycopg import generators
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from webhooks import metrics

DUPLICATE_WINDOW = timedelta(minutes=10)


class Arrival(NamedTuple):
    """An update to be written to the inbox.

    ``dedup_key`` is the same for every delivery of the update. If the key is a hash of the body and a time window,
    ``previous_key`` is the key for the previous window, otherwise None. ``reason`` is the reason for quarantining the
    update, or ``""``.
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
# Up to this number of rows, INSERT … VALUES takes PostgreSQL a fifth less time than unnest(). It needs a separate
# prepared statement for each number of rows.
_MOST_BY_VALUES = 32
_INSERT_ARRAYS = f"""
{_INSERT}
SELECT * FROM unnest(%b::bytea[], %b::bytea[], %b::text[], %b::text[], %b::text[],
                     %b::timestamptz[], %b::timestamptz[], %b::timestamptz[], %b::text[])
{_UNLESS_STORED}
"""  # noqa: S608 (constants of this module)
_TYPES = [
    psycopg.adapters.types[name].oid
    for name in ("bytea", "bytea", "text", "text", "text", "timestamptz", "timestamptz", "text")
]
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_as_int64 = struct.Struct("!q").pack
_RECENT = "SELECT dedup_key FROM webhook_inbox WHERE dedup_key = ANY(%b) AND received_at > %b"
_BODIES = "SELECT dedup_key, body FROM webhook_inbox WHERE dedup_key = ANY(%b)"
_INSERT_DUPLICATES = """
INSERT INTO webhook_repeats (dedup_key, update_type, is_conflict, received_at)
SELECT * FROM unnest(%b::bytea[], %b::text[], %b::boolean[], %b::timestamptz[])
"""


class InboxConnection(psycopg.AsyncConnection):
    """An autocommit connection whose waits end at ``deadline``, in monotonic seconds; None means no limit."""

    deadline: float | None = None
    _planned: frozenset[bytes] = frozenset()

    async def wait(self, gen: Any, interval: float = 0, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        if self.deadline is not None:
            timeout = max(self.deadline - time.monotonic(), 0.01)
        return await super().wait(gen, interval, timeout)

    async def run_prepared(self, name: bytes, sql: bytes, types: list[int], values: list[bytes | None]) -> PGresult:
        """Run a statement, prepared once per connection under ``name``, and return its result.

        The values and the result are in PostgreSQL's binary format. Raise psycopg.Error if the database fails.
        """
        if name not in self._planned:
            self.pgconn.send_prepare(name, sql, types)
            await self._result()
            self._planned |= {name}
        self.pgconn.send_query_prepared(name, values, [Format.BINARY] * len(values), Format.BINARY)
        return await self._result()

    async def _result(self) -> PGresult:
        result: PGresult = (await self.wait(generators.execute(self.pgconn)))[-1]
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            raise psycopg.errors.error_from_result(result)
        return result


def parameters() -> dict[str, Any]:
    """Return Django's connection settings without its cursor class, which would bind parameters as text."""
    return {name: value for name, value in connection.get_connection_params().items() if name != "cursor_factory"}


async def connect() -> InboxConnection:
    return await InboxConnection.connect(**parameters(), autocommit=True)


async def store(conn: InboxConnection, arrivals: Sequence[Arrival]) -> None:
    """Commit the new arrivals with one statement, then record the others as duplicates.

    Raise psycopg.Error if the database fails.
    """
    fresh = arrivals
    previous = {arrival.previous_key: arrival.received_at for arrival in arrivals if arrival.previous_key}
    if previous:
        since = max(previous.values()) - DUPLICATE_WINDOW
        rows = await conn.cursor(binary=True).execute(_RECENT, [list(previous), since])
        recent = {key async for (key,) in rows}
        fresh = [arrival for arrival in arrivals if arrival.previous_key not in recent]
    unique = {arrival.dedup_key: arrival for arrival in reversed(fresh)}
    insert = _insert_values if len(unique) <= _MOST_BY_VALUES else _insert_arrays
    stored = await insert(conn, unique.values()) if unique else set()
    if len(stored) < len(arrivals):
        firsts = {id(unique[key]) for key in stored}
        await _record_duplicates(conn, [arrival for arrival in arrivals if id(arrival) not in firsts])


async def _insert_values(conn: InboxConnection, arrivals: Collection[Arrival]) -> set[bytes]:
    """Insert the arrivals and return the keys of those that were new.

    Calls libpq directly, because binding this many values with a cursor would take more time than everything else.
    """
    values: list[bytes | None] = []
    for key, _previous, body, update_type, reason, at, request_id in arrivals:
        moment = _as_int64((at - _EPOCH) // _MICROSECOND)
        state, finished_at = (b"quarantined", moment) if reason else (b"pending", None)
        values += key, body, update_type.encode(), state, reason.encode(), moment, finished_at, request_id.encode()
    rows = len(arrivals)
    result = await conn.run_prepared(b"store %d" % rows, _values_statement(rows), _TYPES * rows, values)
    return {result.get_value(row, 0) or b"" for row in range(result.ntuples)}


@cache
def _values_statement(rows: int) -> bytes:
    # Parameter 6, the time of receipt, is used twice: it is also the time of the first attempt.
    row = "(${}, ${}, ${}, ${}, ${}, ${}, ${}, ${}, ${})"
    places = (row.format(*(first + place for place in (1, 2, 3, 4, 5, 6, 6, 7, 8))) for first in range(0, rows * 8, 8))
    return f"{_INSERT} VALUES {', '.join(places)} {_UNLESS_STORED}".encode()


async def _insert_arrays(conn: InboxConnection, arrivals: Collection[Arrival]) -> set[bytes]:
    rows = []
    for key, _previous, body, update_type, reason, at, request_id in arrivals:
        state, finished_at = ("quarantined", at) if reason else ("pending", None)
        rows.append((key, body, update_type, state, reason, at, at, finished_at, request_id))
    columns = [list(column) for column in zip(*rows, strict=True)]
    stored = await conn.cursor(binary=True).execute(_INSERT_ARRAYS, columns, prepare=True)
    return {key async for (key,) in stored}


async def _record_duplicates(conn: InboxConnection, duplicates: Sequence[Arrival]) -> None:
    keys, _, bodies, types, _, received_at, _ = (list(column) for column in zip(*duplicates, strict=True))
    metrics.count_arrivals(types, "duplicate")
    rows = await conn.cursor(binary=True).execute(_BODIES, [keys])
    first_bodies: dict[bytes, bytes | None] = dict(await rows.fetchall())
    conflicts = [_differs(first_bodies.get(key), body) for key, body in zip(keys, bodies, strict=True)]
    await conn.cursor(binary=True).execute(_INSERT_DUPLICATES, (keys, types, conflicts, received_at))


def _differs(first: bytes | None, later: bytes) -> bool:
    """Return whether two bodies with the same key contain different JSON; False if the first has been pruned."""
    if first is None or first == later:
        return False
    try:
        return bool(json.loads(first) != json.loads(later))
    except (RecursionError, ValueError):
        # The body is nested almost too deeply: it could be parsed on arrival, where fewer calls were on the stack. Or
        # it contains an integer of too many digits, which was read as null.
        return True
