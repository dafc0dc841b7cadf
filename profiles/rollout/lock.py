"""Transactions for changes of the rollout, which limit the time that their statements wait for a lock."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

from config.lib.messages import Message
from config.postgres import base
from config.postgres.locks import commit_here
from profiles.rollout.rules import ChangeRefused

LOCK_TIMEOUT_MS = 1_500

# Nobody could stop the rollout while a process that stands still held its locks.
_LIMITS = """
SELECT set_config('lock_timeout', %s, true), set_config('idle_in_transaction_session_timeout', %s, true)
"""
_HOLDER = """
SELECT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type), a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::int
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.relation IN ('rollout_rollout'::regclass, 'rollout_flag'::regclass, 'waffle_switch'::regclass,
        'rollout_plan'::regclass, 'rollout_approval'::regclass, 'rollout_scope'::regclass)
    AND l.granted AND l.mode <> 'AccessShareLock' AND a.pid <> pg_backend_pid()
ORDER BY a.xact_start LIMIT 1
"""


class Busy(ChangeRefused):
    """Raised when another transaction holds a lock that a change needs, such as the lock on the rollout's row."""


@contextmanager
def change_transaction() -> Iterator[None]:
    """Run the block in a transaction; raise Busy if it has to wait too long for another transaction's lock."""
    is_own = not connection.in_atomic_block
    try:
        with transaction_with_lock_timeout(LOCK_TIMEOUT_MS):
            if is_own:
                # While a commit waited for a lost standby, nobody else could stop or pause the rollout.
                commit_here()
            yield
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        with connection.cursor() as cursor:
            cursor.execute(_HOLDER)
            holder = cursor.fetchone()
        if holder is None:
            raise Busy(Message("Another change was in progress: try again.")) from None
        message = Message(
            "Another change is in progress: PostgreSQL process %(pid)d (%(name)s, %(state)s) has held the lock for"
            " %(seconds)d s. To end that process, run “SELECT pg_terminate_backend(%(pid)d)”.",
            dict(zip(("pid", "name", "state", "seconds"), holder, strict=True)),
        )
        raise Busy(message) from None


@contextmanager
def transaction_with_lock_timeout(milliseconds: int) -> Iterator[None]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_LIMITS, [f"{milliseconds}ms", f"{base.IDLE_TIMEOUT_MS}ms"])
        yield
