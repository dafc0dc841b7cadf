"""Group commit: requests that arrive while a commit is in progress are written together by the next one.

A request that finds no commit in progress commits the queue itself, without a switch of threads, then hands the next
commit to the first request that arrived meanwhile. A stopped PostgreSQL costs a request the deadline, never more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

import psycopg

from webhooks.inbox import Arrival, BoundedConnection, connect, store
from webhooks.notify import notifier

DEADLINE_SECONDS = 2.6
STATEMENT_TIMEOUT = "2400ms"
LARGEST_BATCH = 500
LARGEST_QUEUE = 2000
# After a timeout of PostgreSQL: requests that waited for a thread meanwhile must not wait for PostgreSQL as well.
REFUSE_SECONDS = 0.5

logger = logging.getLogger(__name__)


class NotStored(Exception):
    """The arrivals are not known to be committed; the sender has to send them again."""


class _PendingInsert:
    """The arrivals of one request, and a lock that opens when they are committed, lost, or to be committed by it."""

    __slots__ = ("arrivals", "deadline", "has_to_commit", "is_committed", "wakeup")

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self.arrivals = arrivals
        self.deadline = time.monotonic() + DEADLINE_SECONDS
        self.has_to_commit = False
        self.is_committed = False
        self.wakeup = threading.Lock()
        self.wakeup.acquire()


class GroupCommitter:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[_PendingInsert] = []
        self._is_committing = False
        self._connection: BoundedConnection | None = None
        self._refuses_until = 0.0

    def insert(self, arrivals: Sequence[Arrival]) -> None:
        """Return when the arrivals are committed; raise NotStored when they are not, at the latest by the deadline."""
        if time.monotonic() < self._refuses_until:
            raise NotStored("the database does not answer")
        own = _PendingInsert(arrivals)
        with self._lock:
            if len(self._queue) >= LARGEST_QUEUE:
                raise NotStored("the queue is full")
            self._queue.append(own)
            if not self._is_committing:
                self._is_committing = own.has_to_commit = True
        if not own.has_to_commit and not own.wakeup.acquire(timeout=DEADLINE_SECONDS):
            with self._lock:
                # One that was handed the next commit at this very moment has to do it all the same.
                if not own.has_to_commit and own in self._queue:
                    self._queue.remove(own)
        if own.has_to_commit:
            self._commit_queue(own)
        if not own.is_committed:
            raise NotStored("the database did not store it")

    def _commit_queue(self, own: _PendingInsert) -> None:
        """Commit the queue, hand the next commit to the first request that arrived meanwhile, wake the others."""
        with self._lock:
            batch, self._queue = self._queue[:LARGEST_BATCH], self._queue[LARGEST_BATCH:]
        is_committed = False
        try:
            # A request that waited for the previous commit has that much less time left for this one.
            is_committed = self._store([arrival for insert in batch for arrival in insert.arrivals], own.deadline)
        finally:
            with self._lock:
                if not is_committed and time.monotonic() < self._refuses_until:
                    batch, self._queue = batch + self._queue, []
                self._is_committing = bool(self._queue)
                if self._is_committing:
                    self._queue[0].has_to_commit = True
                    self._queue[0].wakeup.release()
            for insert in batch:
                insert.is_committed = is_committed
                if insert is not own:
                    insert.wakeup.release()
        if is_committed:
            notifier.notify()

    def _store(self, arrivals: list[Arrival], deadline: float) -> bool:
        was_connected = self._connection is not None
        try:
            if self._connection is None:
                self._connection = connect()
                self._connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
            self._connection.deadline = deadline
            store(self._connection, arrivals)
            return True
        except psycopg.Error as error:
            # A canceled statement means a locked table: the connection is still good.
            if not isinstance(error, psycopg.errors.QueryCanceled):
                self.close()
                if time.monotonic() >= deadline - DEADLINE_SECONDS / 2:
                    self._refuses_until = time.monotonic() + REFUSE_SECONDS
                elif was_connected:
                    # The connection may have died while it was idle: try once more on a new one.
                    return self._store(arrivals, deadline)
            logger.error("webhook updates not stored", extra={"event": "store_failed", "error": type(error).__name__})
            return False

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


committer = GroupCommitter()
