"""The row that every change locks, waited for no longer than an operator waits for an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

from config.lib.messages import Message
from profiles.rollout.models import Rollout
from profiles.rollout.rules import ChangeRefused

LOCK_TIMEOUT_MS = 1_500

_HOLDER = """
SELECT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type), a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::int
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.relation IN ('rollout_rollout'::regclass, 'rollout_flag'::regclass, 'waffle_switch'::regclass)
    AND l.granted AND l.mode <> 'AccessShareLock' AND a.pid <> pg_backend_pid()
ORDER BY a.xact_start LIMIT 1
"""


class Busy(ChangeRefused):
    """Another transaction keeps the rollout locked."""


@contextmanager
def locked_rollout() -> Iterator[Rollout]:
    """Give one transaction the locked row; raise Busy when another one keeps it, or a row that is changed with it."""
    try:
        with transaction_with_lock_timeout(LOCK_TIMEOUT_MS):
            yield Rollout.locked()
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise Busy(_held_by()) from None
        raise


@contextmanager
def transaction_with_lock_timeout(patience_ms: int) -> Iterator[None]:
    """Wait for each lock so long at most."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{patience_ms}ms"])
        yield


def _held_by() -> Message:
    with connection.cursor() as cursor:
        cursor.execute(_HOLDER)
        holder = cursor.fetchone()
    if holder is None:
        return Message("Somebody else was changing the rollout just now: try again")
    words = dict(zip(("pid", "name", "state", "seconds"), holder, strict=True))
    return Message(
        "Somebody else is changing the rollout: PostgreSQL's process %(pid)d (%(name)s, %(state)s) has held it for"
        " %(seconds)d s; “SELECT pg_terminate_backend(%(pid)d)” ends that",
        words,
    )
