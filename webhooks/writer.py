"""Group commit: requests that arrive while a commit is under way are written together by the next one.

One thread a process writes, so that a commit is paid once for all who wait, and a request that is alone is written at
once. PostgreSQL that is stopped or gone costs a request the deadline, never more.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence

import psycopg

from webhooks.inbox import Arrival, connect, store
from webhooks.wakeup import waker

DEADLINE_SECONDS = 2.6
LAST_PATIENCE_SECONDS = 0.1
STATEMENT_TIMEOUT = "2500ms"
LARGEST_BATCH = 500
LARGEST_QUEUE = 2000

logger = logging.getLogger(__name__)


class NotStored(Exception):
    """The arrivals are not known to be committed; the sender has to send them again."""


class _Ticket:
    """The arrivals of one request, and the lock that opens when they are committed or lost."""

    __slots__ = ("arrivals", "is_abandoned", "is_committed", "opened")

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self.arrivals = arrivals
        self.is_committed = False
        self.is_abandoned = False
        self.opened = threading.Lock()
        self.opened.acquire()


class Writer:
    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: psycopg.Connection | None = None
        # When the first commit began that has not ended well yet; None after one that has.
        self._silent_since: float | None = None

    def write(self, arrivals: Sequence[Arrival]) -> None:
        """Return when the arrivals are committed; raise NotStored when they are not, at the latest by the deadline."""
        if self._queue.qsize() >= LARGEST_QUEUE:
            raise NotStored("the queue is full")
        if self._thread is None:
            self._start()
        ticket = _Ticket(arrivals)
        self._queue.put(ticket)
        if not ticket.opened.acquire(timeout=self._patience()):
            ticket.is_abandoned = True
            raise NotStored("the database took too long")
        if not ticket.is_committed:
            raise NotStored("the database refused")

    def _patience(self) -> float:
        """Return the seconds that a request may wait: the deadline counts from when PostgreSQL fell silent.

        Requests that waited for a thread, behind those that wait for PostgreSQL, have used up their time already. What
        is left is enough for the first commit after its return.
        """
        since = self._silent_since
        waited = 0.0 if since is None else time.monotonic() - since
        return max(LAST_PATIENCE_SECONDS, DEADLINE_SECONDS - waited)

    def stop(self) -> None:
        """Write what is queued, then end the thread."""
        with self._changing:
            if self._thread:
                self._queue.put(None)
                self._thread.join()
                self._thread = None

    def _start(self) -> None:
        with self._changing:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="inbox-writer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while batch := self._next_batch():
            arrivals = [arrival for ticket in batch for arrival in ticket.arrivals]
            self._silent_since = self._silent_since or time.monotonic()
            is_committed = not arrivals or self._commit(arrivals)
            if is_committed:
                self._silent_since = None
            for ticket in batch:
                ticket.is_committed = is_committed
                ticket.opened.release()
            if is_committed:
                waker.announce()
        self._disconnect()

    def _next_batch(self) -> list[_Ticket]:
        """Wait for a ticket, then take all that are there; an empty list means the end."""
        batch: list[_Ticket] = []
        ticket = self._queue.get()
        while ticket is not None:
            if not ticket.is_abandoned:
                batch.append(ticket)
            if len(batch) >= LARGEST_BATCH:
                break
            try:
                ticket = self._queue.get(block=not batch)
            except queue.Empty:
                break
        if ticket is None and batch:
            self._queue.put(None)
        return batch

    def _commit(self, arrivals: list[Arrival]) -> bool:
        """Store the arrivals; once more on a new connection when the old one had died while it was idle."""
        is_fresh = self._connection is None
        try:
            store(self._connected(), arrivals)
        except psycopg.OperationalError as error:
            self._disconnect()
            if not is_fresh:
                return self._commit(arrivals)
            logger.error("webhook updates not stored", extra={"event": "store_failed", "error": type(error).__name__})
            return False
        except psycopg.Error as error:
            logger.error("webhook updates refused", extra={"event": "store_failed", "error": type(error).__name__})
            return False
        return True

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = connect()
            self._connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


writer = Writer()
