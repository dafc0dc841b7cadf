"""Group commit: updates that arrive while a commit is in progress are committed together by the next commit.

If no commit is in progress, a request commits the queue in its own thread, then hands the next commit over to the first
request in the queue. While PostgreSQL is not responding, a request fails after at most about DEADLINE_SECONDS.
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
# How long to refuse requests after PostgreSQL has timed out. Requests that have already waited for a free thread
# must not wait for PostgreSQL as well.
REFUSE_SECONDS = 0.5

logger = logging.getLogger(__name__)


class NotStored(Exception):
    """The updates may not have been committed, so the sender has to send them again."""


class _PendingInsert:
    """The arrivals of one request, which waits for ``wakeup`` while another request is committing.

    ``wakeup`` is released when the commit of these arrivals has ended, or when this request has to commit the queue.
    """

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
        """Wait until the arrivals are committed; raise NotStored if that fails or takes longer than the deadline."""
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
                # If the next commit was handed over to this request just now, it has to commit despite the timeout.
                if not own.has_to_commit and own in self._queue:
                    self._queue.remove(own)
        if own.has_to_commit:
            self._commit_queue(own)
        if not own.is_committed:
            raise NotStored("the database did not store it")

    def _commit_queue(self, own: _PendingInsert) -> None:
        """Commit the first LARGEST_BATCH requests of the queue and wake their threads.

        If requests are left in the queue, hand the next commit over to the first of them.
        """
        with self._lock:
            batch, self._queue = self._queue[:LARGEST_BATCH], self._queue[LARGEST_BATCH:]
        is_committed = False
        try:
            # The deadline is that of this request: the time that it waited for the previous commit is not added to it.
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
            # A cancelled statement means that the table is locked; the connection can still be used.
            if not isinstance(error, psycopg.errors.QueryCanceled):
                self.close()
                if time.monotonic() >= deadline - DEADLINE_SECONDS / 2:
                    self._refuses_until = time.monotonic() + REFUSE_SECONDS
                elif was_connected:
                    # The connection may have been lost while it was idle: retry once on a new connection.
                    return self._store(arrivals, deadline)
            logger.error("webhook updates not stored", extra={"event": "store_failed", "error": type(error).__name__})
            return False

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


committer = GroupCommitter()
