"""The statements that write the inbox, on a connection of their own: no transaction of a request is ever in the way."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from django.db import connection
from psycopg import generators
from psycopg.pq import ExecStatus, Format

from webhooks import metrics

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

DUPLICATE_WINDOW = timedelta(minutes=10)


class Arrival(NamedTuple):
    """One update as it is written into the inbox.

    ``dedup_key`` is equal for two deliveries of one update. ``earlier_key`` is the key that the same body had in the
    window before, for updates that are recognised by their body alone. ``reason`` is why it is quarantined, else "".
    ``request_id`` is the delivery's, which the log of its processing names.
    """

    dedup_key: bytes
    earlier_key: bytes | None
    body: bytes
    update_type: str
    reason: str
    received_at: datetime
    request_id: str = ""


_INTO = (
    "INSERT INTO webhook_inbox"
    " (dedup_key, body, update_type, state, reason, received_at, next_try_at, finished_at, request_id)"
)
_ONCE = "ON CONFLICT (dedup_key) DO NOTHING RETURNING dedup_key"
# Up to here a commit is cheaper by VALUES, for PostgreSQL by a fifth; each number of rows is a statement of its own.
_FEW = 32
_STORE_MANY = f"""
{_INTO}
SELECT * FROM unnest(%b::bytea[], %b::bytea[], %b::text[], %b::text[], %b::text[],
                     %b::timestamptz[], %b::timestamptz[], %b::timestamptz[], %b::text[])
{_ONCE}
"""  # noqa: S608 (constants of this module)
_TYPES = [
    psycopg.adapters.types[name].oid
    for name in ("bytea", "bytea", "text", "text", "text", "timestamptz", "timestamptz", "text")
]
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_as_int64 = struct.Struct("!q").pack


def _insert(conn: BoundedConnection, arrivals: Sequence[Arrival]) -> set[bytes]:
    """Commit arrivals by one statement; return the keys of those that are new."""
    if len(arrivals) <= _FEW:
        return _insert_few(conn, arrivals)
    columns = zip(*map(_row, arrivals), strict=True)
    cursor = conn.cursor(binary=True).execute(_STORE_MANY, [list(column) for column in columns], prepare=True)
    return {key for (key,) in cursor}


def _row(arrival: Arrival) -> tuple[object, ...]:
    key, _, body, update_type, reason, at, request_id = arrival
    state, finished_at = ("quarantined", at) if reason else ("pending", None)
    return key, body, update_type, state, reason, at, at, finished_at, request_id


def _insert_few(conn: BoundedConnection, arrivals: Sequence[Arrival]) -> set[bytes]:
    """Insert by libpq itself: to bind so many values, a cursor takes more of the processor than all the rest."""
    values: list[bytes | None] = []
    for key, _earlier, body, update_type, reason, at, request_id in arrivals:
        moment = _as_int64((at - _EPOCH) // _MICROSECOND)
        state, finished_at = (b"quarantined", moment) if reason else (b"pending", None)
        values += key, body, update_type.encode(), state, reason.encode(), moment, finished_at, request_id.encode()
    rows = len(arrivals)
    result = conn.run_prepared(b"store %d" % rows, _store_few(rows), _TYPES * rows, values)
    return {result.get_value(row, 0) or b"" for row in range(result.ntuples)}


@cache
def _store_few(rows: int) -> bytes:
    # The moment of receipt is the one of the first try as well.
    row = "(${}, ${}, ${}, ${}, ${}, ${}, ${}, ${}, ${})"
    places = (row.format(*(first + place for place in (1, 2, 3, 4, 5, 6, 6, 7, 8))) for first in range(0, rows * 8, 8))
    return f"{_INTO} VALUES {', '.join(places)} {_ONCE}".encode()


_RECENT = "SELECT dedup_key FROM webhook_inbox WHERE dedup_key = ANY(%b) AND received_at > %b"
_BODIES = "SELECT dedup_key, body FROM webhook_inbox WHERE dedup_key = ANY(%b)"
_COUNT_DUPLICATES = """
INSERT INTO webhook_repeats (dedup_key, update_type, is_conflict, received_at)
SELECT * FROM unnest(%b::bytea[], %b::text[], %b::boolean[], %b::timestamptz[])
"""


class BoundedConnection(psycopg.Connection):
    """A connection that waits for the server up to a deadline, a moment of ``time.monotonic()``; None: for ever."""

    deadline: float | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._planned: set[bytes] = set()

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        if self.deadline is not None:
            timeout = max(self.deadline - time.monotonic(), 0.01)
        return super().wait(gen, interval, timeout)

    def run_prepared(self, name: bytes, sql: bytes, types: list[int], values: list[bytes | None]) -> PGresult:
        """Run a statement that is planned once, with values and an answer as PostgreSQL has them in binary."""
        if name not in self._planned:
            self.pgconn.send_prepare(name, sql, types)
            self._completed()
            self._planned.add(name)
        self.pgconn.send_query_prepared(name, values, [Format.BINARY] * len(values), Format.BINARY)
        return self._completed()

    def _completed(self) -> PGresult:
        result: PGresult = self.wait(generators.execute(self.pgconn))[-1]
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            raise psycopg.errors.error_from_result(result)
        return result


def connect() -> BoundedConnection:
    """Connect beside Django's connection of this thread, whose cursors would bind parameters as text."""
    parameters = connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}
    return BoundedConnection.connect(**parameters, autocommit=True)


def store(conn: BoundedConnection, arrivals: Sequence[Arrival]) -> None:
    """Commit arrivals by one statement, all or none; those that the inbox has already are counted as repeats."""
    fresh = _without_recent(conn, arrivals)
    unique = {arrival.dedup_key: arrival for arrival in reversed(fresh)}
    stored = _insert(conn, list(unique.values())) if unique else set()
    if len(stored) < len(arrivals):
        _count_duplicates(conn, [arrival for arrival in arrivals if not _is_first(arrival, stored)])


def _is_first(arrival: Arrival, stored: set[bytes]) -> bool:
    """Tell whether this arrival is the one that was stored under its key."""
    if arrival.dedup_key in stored:
        stored.discard(arrival.dedup_key)
        return True
    return False


def _without_recent(conn: psycopg.Connection, arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Drop bodies that came less than the window ago under the key of the window before."""
    earlier = {arrival.earlier_key: arrival.received_at for arrival in arrivals if arrival.earlier_key}
    if not earlier:
        return list(arrivals)
    since = max(earlier.values()) - DUPLICATE_WINDOW
    recent = {key for (key,) in conn.cursor(binary=True).execute(_RECENT, [list(earlier), since])}
    return [arrival for arrival in arrivals if arrival.earlier_key not in recent]


def _count_duplicates(conn: psycopg.Connection, repeats: Sequence[Arrival]) -> None:
    metrics.count_arrivals([repeat.update_type for repeat in repeats], "duplicate")
    keys = [repeat.dedup_key for repeat in repeats]
    first_bodies: dict[bytes, bytes | None] = dict(conn.cursor(binary=True).execute(_BODIES, [keys]).fetchall())
    conflicts = [_differs(first_bodies.get(repeat.dedup_key), repeat.body) for repeat in repeats]
    columns = (
        keys,
        [repeat.update_type for repeat in repeats],
        conflicts,
        [repeat.received_at for repeat in repeats],
    )
    conn.cursor(binary=True).execute(_COUNT_DUPLICATES, columns)


def _differs(first: bytes | None, later: bytes) -> bool:
    """Tell whether two bodies of one key say different things; a body that was pruned cannot be compared."""
    if first is None or first == later:
        return False
    try:
        return bool(json.loads(first) != json.loads(later))
    except RecursionError:
        # Nested as deep as could just be read on arrival, where the stack was shorter.
        return True
