"""Limit the time that statements wait for a lock, and find the session that blocks others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import OperationalError, connection, transaction
from django.utils.translation import gettext_noop
from psycopg.errors import LockNotAvailable

from config.postgres import base
from config.postgres.base import CommitNotConfirmed, DatabaseWrapper, without_standby

LOCK_TIMEOUT_MS, SHORT_LOCK_TIMEOUT_MS = 2_000, 100
# A commit takes milliseconds, unless it waits for a lost standby.
COMMIT_SECONDS = 5.0
BLOCKING_SESSION = gettext_noop(
    "PostgreSQL process %(pid)s (%(application)s, %(state)s) has held a lock for %(seconds)s s."
    " To end that process, run “SELECT pg_terminate_backend(%(pid)s)”."
)

# A session that others wait for and that waits for nothing itself. If the others have just given up after
# LOCK_TIMEOUT_MS, it is a session with locks that will block their next attempt. PostgreSQL hides when the transactions
# of other roles began; the age is then that of the longest wait.
_HOLDER = """
WITH locks AS (SELECT pid, mode, granted, waitstart, locktype FROM pg_locks WHERE pid <> pg_backend_pid()),
waits AS (SELECT DISTINCT unnest(pg_blocking_pids(pid)) AS pid FROM locks WHERE NOT granted)
SELECT pid, coalesce(nullif(application_name, ''), usename::text, '—'), coalesce(state, '—'),
       extract(epoch FROM clock_timestamp() - coalesce(xact_start, (SELECT min(waitstart) FROM locks), now()))
FROM pg_stat_activity a
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()
    AND pid NOT IN (SELECT pid FROM locks WHERE NOT granted)
    AND (pid IN (SELECT pid FROM waits) OR EXISTS (
        SELECT FROM locks l WHERE l.pid = a.pid AND granted AND locktype = 'relation' AND (
            mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
            OR state LIKE 'idle in transaction%%' AND mode <> 'AccessShareLock')))
ORDER BY 4 DESC LIMIT 1
"""

WAITING_FOR_STANDBY = gettext_noop(
    "PostgreSQL has been waiting for a synchronous standby for %(seconds)s s. Changes that the standby has not"
    " confirmed are on this server only, and a failover would lose them. Start the standby, or remove it from"
    " synchronous_standby_names."
)
# A commit takes milliseconds. A lost standby delays all commits, including those of the heartbeats.
_STANDBY_SECONDS = 0.5
_STANDBY = """
SELECT pid, coalesce(nullif(application_name, ''), usename::text, '—'), state,
       extract(epoch FROM clock_timestamp() - query_start)
FROM pg_stat_activity
WHERE wait_event = 'SyncRep' AND datname = current_database() AND query_start < clock_timestamp() - %s * interval '1 s'
ORDER BY 4 DESC LIMIT 1
"""
# Also return whether a standby is configured: without one, a slow commit must not count as waiting for a standby.
_COMMIT_HERE = """
SELECT set_config('synchronous_commit', 'local', true), current_setting('synchronous_standby_names') <> ''
"""


class Session(NamedTuple):
    """A PostgreSQL session that holds locks; ``name`` is its application_name, ``seconds`` the age of its transaction.

    The text of its query is left out, because it may contain personal data.
    """

    pid: int
    name: str
    state: str
    seconds: float


def blocking_session() -> Session | None:
    """Return the session that blocks others or may soon block them; None if there is none.

    If there are several, return the one with the oldest transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HOLDER)
        row = cursor.fetchone()
    return Session(row[0], row[1], row[2], max(float(row[3]), 0.0)) if row else None


def standby_wait() -> Session | None:
    """Return the session whose commit has waited longest for a standby; None if none has waited _STANDBY_SECONDS."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDBY, [_STANDBY_SECONDS])
        row = cursor.fetchone()
    return Session(row[0], row[1], row[2], float(row[3])) if row else None


def limit_lock_waits() -> None:
    """Let each statement of this process wait for a lock for at most LOCK_TIMEOUT_MS.

    A statement that waits longer raises OperationalError, which is_lock_timeout() recognises.
    """
    DatabaseWrapper.lock_timeout_ms = LOCK_TIMEOUT_MS


@contextmanager
def short_lock_waits() -> Iterator[None]:
    """Limit the lock waits of the block to SHORT_LOCK_TIMEOUT_MS, if this process limits them at all.

    The limit applies to transactions that begin in the block; a transaction that has begun earlier keeps its limit.
    """
    current: Any = connection
    current.lock_timeout_ms = min(current.lock_timeout_ms, SHORT_LOCK_TIMEOUT_MS)
    try:
        yield
    finally:
        del current.lock_timeout_ms


def limit_idle_transactions() -> None:
    """Have PostgreSQL end each transaction of this process that waits IDLE_TIMEOUT_MS for its next statement."""
    DatabaseWrapper.idle_timeout_ms = base.IDLE_TIMEOUT_MS


def limit_commits() -> None:
    """Let each commit of this process wait for a synchronous standby for at most COMMIT_SECONDS.

    A commit that would wait longer raises CommitNotConfirmed, because it is stored on this server only. A commit also
    checks deferred constraints, so after a transaction longer than COMMIT_SECONDS, it may take as long as that
    transaction took.
    """
    DatabaseWrapper.commit_seconds = COMMIT_SECONDS


def commit_here() -> bool:
    """Let the current transaction commit, and release its locks, without waiting for a synchronous standby.

    A failover may lose the transaction. Return whether a synchronous standby is configured.
    """
    with connection.cursor() as cursor:
        cursor.execute(_COMMIT_HERE)
        return bool(cursor.fetchone() == ("local", True))


def limit_commit() -> None:
    """Let the current transaction wait for a standby only after its commit, when it has released its locks.

    If no standby confirms the commit within COMMIT_SECONDS, the end of the transaction raises CommitNotConfirmed.
    """
    current: Any = connection
    current.confirm_seconds = COMMIT_SECONDS if commit_here() else 0.0


@contextmanager
def confirmed_together() -> Iterator[None]:
    """Commit the block's transactions without waiting for a standby; wait for all of them at the end of the block.

    If each transaction waited on its own, the first unconfirmed one would end the block.

    If no standby confirms the transactions within COMMIT_SECONDS, raise CommitNotConfirmed, even inside a block
    without_standby(). CommitNotConfirmed then replaces an exception that has ended the block: the caller has to know
    that the transactions committed before that exception are stored, but not confirmed.
    """
    current: Any = connection
    current.is_unconfirmed = False
    try:
        with without_standby():
            yield
    finally:
        if current.is_unconfirmed:
            _confirm()


def _confirm() -> None:
    try:
        with without_standby(is_lost=False), transaction.atomic():
            limit_commit()
    except OperationalError as error:
        raise CommitNotConfirmed(*error.args) from error


def is_lock_timeout(error: BaseException) -> bool:
    return isinstance(error.__cause__, LockNotAvailable)
