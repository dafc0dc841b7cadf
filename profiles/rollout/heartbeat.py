"""The heartbeat: every second, each process reads the flags and stores in PostgreSQL which revision it has applied.

A change is in force everywhere once every living process has reported its revision. Redis is not involved.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.util import Finalize

import psycopg

from config.postgres.base import DeadlineConnection, parameters, statement_deadline
from profiles.rollout.decision import STATE_QUERY, remember_state
from profiles.rollout.models import Heartbeat, Rollout

BEAT_SECONDS = 1.0
SILENT_AFTER = timedelta(seconds=3)
# If the database hangs, the thread must give up and try a new connection.
_DEADLINE_SECONDS = 2.0

# A process that starts after a change counts as having seen it at once; otherwise propagation would look slow.
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
        # A forked child does not inherit its parent's thread.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, kind: str, is_working: Callable[[], bool] = lambda: True) -> None:
        """Start the thread for a process of this kind (web, inbox, worker or beat), unless it is running already.

        While ``is_working()`` returns false, the thread reports nothing, so that the process counts as silent.
        """
        with self._lock:
            if self._thread is None:
                self._stopping.clear()
                process = f"{kind}-{socket.gethostname()[:60]}-{os.getpid()}"
                self._thread = threading.Thread(
                    target=self._run, args=[process, is_working], name="heartbeat", daemon=True
                )
                self._thread.start()
                # A process that exits normally must not be listed as silent. This is not an atexit handler, because
                # children of multiprocessing, such as the web server's workers, do not run those.
                Finalize(None, self.stop, exitpriority=0)

    def stop(self) -> None:
        with self._lock:
            if self._thread:
                self._stopping.set()
                self._thread.join(3.0)
                self._thread = None

    def _run(self, process: str, is_working: Callable[[], bool]) -> None:
        while not self._stopping.is_set():
            try:
                self._beat(process, is_working)
            except psycopg.Error as error:
                logger.warning("heartbeat missed", extra={"event": "heartbeat_missed", "error": type(error).__name__})
                self._stopping.wait(BEAT_SECONDS)

    def _beat(self, process: str, is_working: Callable[[], bool]) -> None:
        with DeadlineConnection.connect(**parameters(), autocommit=True) as conn:
            with statement_deadline(_DEADLINE_SECONDS):
                conn.execute(_DELETE_OLD)
            while not self._stopping.is_set():
                with statement_deadline(_DEADLINE_SECONDS):
                    row = conn.execute(STATE_QUERY).fetchone()
                    # Report a revision only after this process has applied it.
                    revision = remember_state(row or (0, None, None, None)).revision
                    if is_working():
                        conn.execute(_REPORT, [process, revision])
                    else:
                        logger.error("process hangs", extra={"event": "process_hangs"})
                self._stopping.wait(BEAT_SECONDS)
            with statement_deadline(_DEADLINE_SECONDS):
                conn.execute(_DELETE, [process])


heartbeat_thread = HeartbeatThread()


@dataclass(frozen=True, slots=True)
class Convergence:
    """The processes that have reached a revision, those that are behind, and those that have fallen silent.

    ``seconds`` is the time that the slowest living process took to reach the revision; None while a process is behind.
    """

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

    @property
    def cut_off(self) -> list[str]:
        """Return the hosts that have silent processes and no living process."""
        return sorted(
            {_host_of(process) for process in self.silent} - set(map(_host_of, (*self.reached, *self.behind)))
        )

    def has_living(self, kind: str) -> bool:
        return any(process.startswith(f"{kind}-") for process in (*self.reached, *self.behind))


def _host_of(process: str) -> str:
    return process.partition("-")[2].rpartition("-")[0]


def convergence() -> Convergence:
    """Return which living processes have reached the current revision; silent processes are listed but not counted."""
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
