"""Wakes the inbox worker: PostgreSQL's NOTIFY, sent after the commit by a thread of its own.

A notification inside the inserting transaction would serialize all commits on one lock; a Celery task would need the
broker. A lost wake-up costs the seconds until the next sweep, never an update.
"""

from __future__ import annotations

import logging
import threading
import time

import psycopg

from webhooks.inbox import connect

CHANNEL = "webhook_inbox"
SWEEP_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
_RECONNECT_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Notifier:
    """Announces arrivals from a background thread, many at once where they come quickly."""

    def __init__(self) -> None:
        self._has_arrivals = threading.Event()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopping = False

    def announce(self) -> None:
        """Let the worker know, without waiting for anything."""
        self._has_arrivals.set()
        if self._thread is None:
            with self._changing:
                if self._thread is None:
                    self._is_stopping = False
                    self._thread = threading.Thread(target=self._run, name="inbox-waker", daemon=True)
                    self._thread.start()

    def stop(self) -> None:
        with self._changing:
            if self._thread:
                self._is_stopping = True
                self._has_arrivals.set()
                self._thread.join()
                self._thread = None

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                with connect() as sender:
                    self._send_by(sender)
            except psycopg.Error as error:
                logger.warning("webhook wake-up lost", extra={"event": "wakeup_lost", "error": type(error).__name__})
                time.sleep(_RECONNECT_SECONDS)

    def _send_by(self, sender: psycopg.Connection) -> None:
        while not self._is_stopping:
            self._has_arrivals.wait()
            self._has_arrivals.clear()
            sender.execute(f"NOTIFY {CHANNEL}")
            time.sleep(_PAUSE_SECONDS)


notifier = Notifier()


class Listener:
    """The worker's end: a connection that listens from the first wait on, so that nothing is missed in between."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection | None = None

    def wait(self, timeout: float = SWEEP_SECONDS) -> None:
        """Return when something arrived, or after ``timeout`` seconds; raise psycopg.Error on a lost connection."""
        if self._connection is None:
            self._connection = connect()
            self._connection.execute(f"LISTEN {CHANNEL}")
        for _ in self._connection.notifies(timeout=timeout, stop_after=1):
            pass

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None
