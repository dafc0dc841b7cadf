"""Notify the inbox worker of new rows by PostgreSQL's NOTIFY, which a thread sends after the commit.

A notification inside the inserting transaction would serialize all commits on one lock; a Celery task would need the
broker. A lost notification costs the seconds until the next sweep, never an update.
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
    """Sends one notification for all rows that arrive within a pause."""

    def __init__(self) -> None:
        self._has_arrivals = threading.Event()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopping = False

    def notify(self) -> None:
        """Have the thread send a notification, and start it if needed; never wait for PostgreSQL."""
        self._has_arrivals.set()
        if self._thread is None:
            with self._changing:
                if self._thread is None:
                    self._is_stopping = False
                    self._thread = threading.Thread(target=self._run, name="inbox-notifier", daemon=True)
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
                with connect() as conn:
                    while not self._is_stopping:
                        self._has_arrivals.wait()
                        self._has_arrivals.clear()
                        conn.execute(f"NOTIFY {CHANNEL}")
                        time.sleep(_PAUSE_SECONDS)
            except psycopg.Error as error:
                extra = {"event": "wakeup_lost", "error": type(error).__name__}
                logger.warning("inbox notification not sent", extra=extra)
                time.sleep(_RECONNECT_SECONDS)


notifier = Notifier()


def listen() -> psycopg.Connection:
    """Return a connection that receives all notifications from now on."""
    listener = connect()
    listener.execute(f"LISTEN {CHANNEL}")
    return listener


def wait(listener: psycopg.Connection, timeout: float = SWEEP_SECONDS) -> None:
    """Return on a notification or after ``timeout`` seconds; raise psycopg.Error when the connection is lost."""
    for _ in listener.notifies(timeout=timeout, stop_after=1):
        pass
