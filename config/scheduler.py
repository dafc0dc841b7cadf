"""Celery beat's scheduler. Of several beat processes, only one sends tasks.

If the clock is set back, tasks are still sent at their intervals.
"""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import beat
from django.db import DatabaseError, connection

from config.postgres.base import statement_deadline

STANDBY_SECONDS = 1.0
_DEADLINE_SECONDS = 2.0
# A transaction that stays open holds the lock, because a session may be a pooler's. beat runs a query in it at least
# every two seconds. PostgreSQL ends the transaction of a beat that has stopped, so another beat takes over.
_LEAD = "SELECT set_config('idle_in_transaction_session_timeout', '10s', true), pg_try_advisory_xact_lock(%s)"
_LOCK = 0x62656174  # "beat"

logger = logging.getLogger(__name__)


class Scheduler(beat.Scheduler):
    """Send the tasks that are due while this process holds the lock.

    No state is stored, so all tasks are due when the scheduler starts.
    """

    _is_leader = False

    def __init__(self, *args: Any, schedule_filename: str = "", **kwargs: Any) -> None:
        # Empty, and touched by every tick, as a sign of life for config.alive.
        self._file = Path(schedule_filename or "celerybeat-schedule")
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send the next task that is due; return the seconds until the next call."""
        # If DATA_DIR is full or read-only, the tasks are still sent.
        with suppress(OSError):
            self._file.touch()
        is_leader = _leads()
        if is_leader != self._is_leader:
            self._is_leader = is_leader
            logger.info("beat leads" if is_leader else "beat stands by", extra={"event": "beat_changed"})
        if not is_leader:
            return STANDBY_SECONDS
        self._follow_clock()
        return float(super().tick(*args, **kwargs))

    def _follow_clock(self) -> None:
        """If the clock was set back, count the intervals of the tasks from now.

        Otherwise, no task would be due until the clock reaches the time of its last run again.
        """
        now = self.app.now()
        ahead = [entry for entry in self.schedule.values() if entry.last_run_at and entry.last_run_at > now]
        for entry in ahead:
            entry.last_run_at = now
        if ahead:
            # The heap is sorted by the times of the old clock.
            self._heap = None


def _leads() -> bool:
    """Take the scheduler's lock if it is free; return whether this process holds it.

    Each call runs a query, so that the transaction that holds the lock does not time out as idle.
    """
    try:
        with statement_deadline(_DEADLINE_SECONDS):
            if connection.get_autocommit():
                connection.set_autocommit(False)
            with connection.cursor() as cursor:
                cursor.execute(_LEAD, [_LOCK])
                is_leader = bool(cursor.fetchone()[1])
            if not is_leader:
                connection.rollback()
            return is_leader
    except DatabaseError:
        connection.close()
        return False
