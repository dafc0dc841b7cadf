"""Each process reads the flags every second and tells which revision it has seen; a row in PostgreSQL, no Redis.

A change is in force everywhere when every living process has told its revision.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.util import Finalize
from typing import Any

import psycopg
from django.db import connection

from profiles.rollout.decision import STATE_QUERY, remember_state
from profiles.rollout.models import Heartbeat, Rollout

BEAT_SECONDS = 1.0
SILENT_AFTER = timedelta(seconds=3)
_FORGOTTEN_AFTER = "1 hour"
# A database that hangs must not keep the thread from trying a new connection.
_LIMITS = "-c statement_timeout=2000 -c lock_timeout=2000"

# A process that starts has seen the revision with everybody else: it must not make its spreading look slow.
_TELL = """
INSERT INTO rollout_heartbeat AS h (process, revision, revision_seen_at)
VALUES (%s, %s, coalesce((SELECT least(revised_at, now()) FROM rollout_rollout WHERE id = 1), now()))
ON CONFLICT (process) DO UPDATE SET
    seen_at = now(), revision = EXCLUDED.revision,
    revision_seen_at = CASE WHEN h.revision = EXCLUDED.revision THEN h.revision_seen_at ELSE now() END
"""
_FORGET = f"DELETE FROM rollout_heartbeat WHERE seen_at < now() - interval '{_FORGOTTEN_AFTER}'"  # noqa: S608 (constant)

_LEAVE = "DELETE FROM rollout_heartbeat WHERE process = %s"
_STOPPED_WITHIN = 3.0
_HOST_LENGTH = 60

logger = logging.getLogger(__name__)


class HeartbeatThread:
    """The thread of one process, on a connection of its own."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        """Let a child that was forked beat for itself: the thread of its parent is not there."""
        self._changing, self._stopping, self._thread = threading.Lock(), threading.Event(), None

    def start(self, kind: str) -> None:
        """Begin to beat as a process of this kind (web, inbox, worker, beat); once is enough."""
        with self._changing:
            if self._thread is None:
                self._stopping.clear()
                process = f"{kind}-{socket.gethostname()[:_HOST_LENGTH]}-{os.getpid()}"
                self._thread = threading.Thread(target=self._run, args=[process], name="heartbeat", daemon=True)
                self._thread.start()
                # A process that ends in order is no silent one. By atexit a child of multiprocessing, as the web
                # server's workers are, would not leave.
                Finalize(None, self.stop, exitpriority=0)

    def stop(self) -> None:
        with self._changing:
            if self._thread:
                self._stopping.set()
                self._thread.join(_STOPPED_WITHIN)
                self._thread = None

    def _run(self, process: str) -> None:
        while not self._stopping.is_set():
            try:
                self._beat(process)
            except psycopg.Error as error:
                logger.warning("heartbeat missed", extra={"event": "heartbeat_missed", "error": type(error).__name__})
                self._stopping.wait(BEAT_SECONDS)

    def _beat(self, process: str) -> None:
        with psycopg.connect(**_parameters(), autocommit=True) as conn:
            conn.execute(_FORGET)
            while not self._stopping.is_set():
                row = conn.execute(STATE_QUERY).fetchone()
                # Told only after it is in force here.
                conn.execute(_TELL, [process, remember_state(row or (0, None, None, None)).revision])
                self._stopping.wait(BEAT_SECONDS)
            conn.execute(_LEAVE, [process])


def _parameters() -> dict[str, Any]:
    parameters = connection.get_connection_params() | {"cursor_factory": psycopg.Cursor, "connect_timeout": 2}
    return parameters | {"options": f"{parameters.get('options') or ''} {_LIMITS}".strip()}


heartbeat_thread = HeartbeatThread()


@dataclass(frozen=True, slots=True)
class Convergence:
    """How far a revision has spread; ``seconds`` until the last living process saw it, None while some have not."""

    revision: int
    reached: list[str]
    behind: list[str]
    silent: list[str]
    seconds: float | None

    @property
    def is_complete(self) -> bool:
        return not self.behind

    def has_living(self, kind: str) -> bool:
        """Tell whether a process of this kind (web, inbox, worker, beat) is alive."""
        return any(process.startswith(f"{kind}-") for process in (*self.reached, *self.behind))

    @property
    def living(self) -> int:
        return len(self.reached) + len(self.behind)


def convergence() -> Convergence:
    """Compare what the living processes have seen with the rollout's revision; the silent ones are only named."""
    rollout = Rollout.current()
    rows = list(Heartbeat.objects.with_last_seen_age().order_by("process"))
    living = [row for row in rows if row.silence <= SILENT_AFTER]  # type: ignore[attr-defined]
    reached = [row for row in living if row.revision >= rollout.revision]
    took = [(row.revision_seen_at - rollout.revised_at).total_seconds() for row in reached if rollout.revision]
    return Convergence(
        rollout.revision,
        [row.process for row in reached],
        [row.process for row in living if row.revision < rollout.revision],
        [row.process for row in rows if row.silence > SILENT_AFTER],  # type: ignore[attr-defined]
        max([0.0, *took]) if len(reached) == len(living) and living else None,
    )
