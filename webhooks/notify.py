"""Notify the inbox worker of new rows with PostgreSQL's NOTIFY, which a thread sends after the commit.

A NOTIFY inside the inserting transaction would serialize all commits on one lock; a Celery task would need the broker.
If a notification is lost, the worker finds the rows in its next sweep, at most SWEEP_SECONDS later.
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
    """A thread that notifies the inbox worker, at most once per _PAUSE_SECONDS however many rows are inserted."""

    def __init__(self) -> None:
        self._has_arrivals = threading.Event()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopping = False

    def notify(self) -> None:
        """Make the thread send a notification, starting the thread if necessary. Does not wait for PostgreSQL."""
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
    """Open a connection that receives the notifications sent from now on; raise psycopg.Error if that fails."""
    listener = connect()
    listener.execute(f"LISTEN {CHANNEL}")
    return listener


def wait(listener: psycopg.Connection, timeout: float = SWEEP_SECONDS) -> None:
    """Wait for a notification, for at most ``timeout`` seconds; raise psycopg.Error if the connection is lost."""
    for _ in listener.notifies(timeout=timeout, stop_after=1):
        pass
