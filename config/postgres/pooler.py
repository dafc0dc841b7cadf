"""Recognise a connection pooler such as PgBouncer, which may give each transaction another session of PostgreSQL.

Nothing may then be left in a session: no settings or locks for longer than a transaction, no LISTEN, and prepared
statements only if the pooler keeps them for each client (PgBouncer 1.21 or newer with ``max_prepared_statements``).
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

_NAME = b"directory_probe"
_IS_PASSED_ON = b"SELECT count(*) FROM pg_prepared_statements WHERE name = '%b'" % _NAME


class Pooling(NamedTuple):
    """Whether a connection goes through a pooler, and whether prepared statements can be used on it."""

    is_pooled: bool
    prepares: bool


DIRECT = Pooling(is_pooled=False, prepares=True)

_Step = Generator[Wait, Ready, PGresult]


@contextmanager
def closed_on_error(connection: Any) -> Iterator[None]:
    """Close the new connection if the block raises an exception, for example because its deadline has passed."""
    try:
        yield
    except BaseException:
        connection.pgconn.finish()
        raise


def recognise(connection: Any) -> Generator[Wait, Ready, None]:
    """Find out whether the connection goes through a pooler, and store the result in ``connection.pooling``.

    Disable prepared statements if the pooler does not keep them.

    This is a generator, because the ``wait`` of the connection may be asynchronous.
    """
    connection.pooling = yield from _pooling_of(connection.pgconn)
    if not connection.pooling.prepares:
        connection.prepare_threshold = None


def durable(is_local: str) -> str:
    """Return the SQL call that makes commits survive a crash of this server, even if synchronous_commit is off.

    The call sets synchronous_commit for the session or, if ``is_local`` is "true", for the transaction. It replaces
    ``off`` and keeps any other value, because a crash loses commits only with ``off``. If an administrator sets ``off``
    later, the session or the transaction keeps its own value. With ``local`` and ``remote_write``, a failover may lose
    commits, as with asynchronous standbys; the administrator decides whether to accept that.
    """
    setting = "current_setting('synchronous_commit')"
    durable_setting = f"CASE {setting} WHEN 'off' THEN 'on' ELSE {setting} END"
    return f"set_config('synchronous_commit', {durable_setting}, {is_local})"


def set_durable(connection: Any) -> Generator[Wait, Ready, None]:
    """Make the commits of a new connection's session durable; a generator, as ``recognise`` is."""
    connection.pgconn.send_query(f"SELECT {durable('false')}".encode())
    yield from _result(connection.pgconn)


def _pooling_of(pgconn: PGconn) -> Generator[Wait, Ready, Pooling]:
    """Find out whether an idle connection goes through a pooler; raise psycopg.Error if that fails.

    A pooler gives its clients process IDs that are not PostgreSQL's. A pooler that keeps prepared statements renames
    them, so that the names of several clients do not collide in one session.
    """
    pgconn.send_query(b"SELECT pg_backend_pid()")
    pid = yield from _result(pgconn)
    if int(pid.get_value(0, 0) or 0) == pgconn.backend_pid:
        return DIRECT
    # Within a transaction, the pooler does not change the session.
    pgconn.send_query(b"BEGIN")
    yield from _result(pgconn)
    try:
        pgconn.send_prepare(_NAME, b"SELECT 1")
        yield from _result(pgconn)
        pgconn.send_query(_IS_PASSED_ON)
        passed_on = yield from _result(pgconn)
        is_kept = passed_on.get_value(0, 0) == b"0"
        if not is_kept:
            pgconn.send_query(b"DEALLOCATE " + _NAME)
            yield from _result(pgconn)
    except psycopg.errors.DuplicatePreparedStatement:
        is_kept = False
    pgconn.send_query(b"ROLLBACK")
    yield from _result(pgconn)
    return Pooling(is_pooled=True, prepares=is_kept)


def _result(pgconn: PGconn) -> _Step:
    results = yield from generators.execute(pgconn)
    result: PGresult = results[-1]
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        raise psycopg.errors.error_from_result(result)
    return result
