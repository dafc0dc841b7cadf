"""Each process reads the flags every second and reports the revision that it follows, in PostgreSQL alone.

A change is in force everywhere once every living process has reported its revision.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.util import Finalize

import psycopg
from django.db import connection

from profiles.rollout.decision import STATE_QUERY, remember_state
from profiles.rollout.models import Heartbeat, Rollout

BEAT_SECONDS = 1.0
SILENT_AFTER = timedelta(seconds=3)
# A database that hangs must not keep the thread from trying a new connection.
_OPTIONS = "-c statement_timeout=2000 -c lock_timeout=2000"

# A process that starts later counts as having seen the revision at once: it must not make propagation look slow.
_REPORT = """
INSERT INTO rollout_heartbeat AS h (process, revision, revision_seen_at)
VALUES (%s, %s, coalesce((SELECT least(revised_at, now()) FROM rollout_rollout WHERE id = 1), now()))
ON CONFLICT (process) DO UPDATE SET
    seen_at = now(), revision = EXCLUDED.revision,
    revision_seen_at = CASE WHEN h.revision = EXCLUDED.revision THEN h.revision_seen_at ELSE now() END
"""
_DELETE_OLD = "DELETE FROM rollout_heartbeat WHERE seen_at < now() - interval '1 hour'"
_DELETE = "DELETE FROM rollout_heartbeat WHERE process = %s"

logger = logging.getLogger(__name__)


class HeartbeatThread:
    def __init__(self) -> None:
        self._reset()
        # A forked child does not have its parent's thread.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, kind: str) -> None:
        """Start, unless it runs, as a process of this kind (web, inbox, worker, beat)."""
        with self._lock:
            if self._thread is None:
                self._stopping.clear()
                process = f"{kind}-{socket.gethostname()[:60]}-{os.getpid()}"
                self._thread = threading.Thread(target=self._run, args=[process], name="heartbeat", daemon=True)
                self._thread.start()
                # A process that ends in order must not look silent. A child of multiprocessing, such as the web
                # server's workers, does not run atexit.
                Finalize(None, self.stop, exitpriority=0)

    def stop(self) -> None:
        with self._lock:
            if self._thread:
                self._stopping.set()
                self._thread.join(3.0)
                self._thread = None

    def _run(self, process: str) -> None:
        while not self._stopping.is_set():
            try:
                self._beat(process)
            except psycopg.Error as error:
                logger.warning("heartbeat missed", extra={"event": "heartbeat_missed", "error": type(error).__name__})
                self._stopping.wait(BEAT_SECONDS)

    def _beat(self, process: str) -> None:
        params = connection.get_connection_params() | {"cursor_factory": psycopg.Cursor, "connect_timeout": 2}
        params["options"] = f"{params.get('options') or ''} {_OPTIONS}".strip()
        with psycopg.connect(**params, autocommit=True) as conn:
            conn.execute(_DELETE_OLD)
            while not self._stopping.is_set():
                row = conn.execute(STATE_QUERY).fetchone()
                # Report a revision only once it is in force here.
                conn.execute(_REPORT, [process, remember_state(row or (0, None, None, None)).revision])
                self._stopping.wait(BEAT_SECONDS)
            conn.execute(_DELETE, [process])


heartbeat_thread = HeartbeatThread()


@dataclass(frozen=True, slots=True)
class Convergence:
    """Which processes follow a revision; ``seconds`` until the last living one did, None while some do not."""

    revision: int
    reached: list[str]
    behind: list[str]
    silent: list[str]
    seconds: float | None

    @property
    def is_complete(self) -> bool:
        return not self.behind

    @property
    def living(self) -> int:
        return len(self.reached) + len(self.behind)

    def has_living(self, kind: str) -> bool:
        return any(process.startswith(f"{kind}-") for process in (*self.reached, *self.behind))


def convergence() -> Convergence:
    """Compare the living processes with the rollout's revision; silent ones are listed but do not count."""
    rollout = Rollout.current()
    rows = list(Heartbeat.objects.with_last_seen_age().order_by("process"))
    living = [row for row in rows if row.last_seen_age <= SILENT_AFTER]  # type: ignore[attr-defined]
    reached = [row for row in living if row.revision >= rollout.revision]
    delays = [(row.revision_seen_at - rollout.revised_at).total_seconds() for row in reached if rollout.revision]
    return Convergence(
        rollout.revision,
        [row.process for row in reached],
        [row.process for row in living if row.revision < rollout.revision],
        [row.process for row in rows if row not in living],
        max([0.0, *delays]) if len(reached) == len(living) and living else None,
    )
