"""Group commit: requests that arrive while a commit is under way are written together by the next one.

There is no thread for it: the first request that finds nobody at it leads, and commits for all that wait; then the
first of those who came meanwhile leads. A request that is alone is written at once, without a switch of threads.
PostgreSQL that is stopped or gone costs a request the deadline, never more.
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
# After PostgreSQL fell silent: who waited for a thread meanwhile must not wait for PostgreSQL as well.
REFUSE_SECONDS = 0.5

logger = logging.getLogger(__name__)


class NotStored(Exception):
    """The arrivals are not known to be committed; the sender has to send them again."""


class _Ticket:
    """The arrivals of one request, and the lock that opens when they are committed or lost, or it has to lead."""

    __slots__ = ("arrivals", "deadline", "is_committed", "leads", "opened")

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self.arrivals = arrivals
        self.deadline = time.monotonic() + DEADLINE_SECONDS
        self.is_committed = False
        self.leads = False
        self.opened = threading.Lock()
        self.opened.acquire()


class Writer:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._is_led = False
        self._connection: BoundedConnection | None = None
        self._refuses_until = 0.0

    def write(self, arrivals: Sequence[Arrival]) -> None:
        """Return when the arrivals are committed; raise NotStored when they are not, at the latest by the deadline."""
        if time.monotonic() < self._refuses_until:
            raise NotStored("the database does not answer")
        ticket = _Ticket(arrivals)
        self._enter(ticket)
        if not ticket.leads and not ticket.opened.acquire(timeout=DEADLINE_SECONDS):
            self._give_up(ticket)
        if ticket.leads:
            self._lead(ticket)
        if not ticket.is_committed:
            raise NotStored("the database did not store it")

    def close(self) -> None:
        with self._lock:
            self._disconnect()

    def _enter(self, ticket: _Ticket) -> None:
        with self._lock:
            if len(self._waiting) >= LARGEST_QUEUE:
                raise NotStored("the queue is full")
            self._waiting.append(ticket)
            if not self._is_led:
                self._is_led = ticket.leads = True

    def _give_up(self, ticket: _Ticket) -> None:
        """Leave the queue; one that was made leader at this very moment has to lead all the same."""
        with self._lock:
            if not ticket.leads and ticket in self._waiting:
                self._waiting.remove(ticket)

    def _lead(self, leader: _Ticket) -> None:
        """Commit for all that wait, hand over to the next leader, then let the others go."""
        with self._lock:
            batch, self._waiting = self._waiting[:LARGEST_BATCH], self._waiting[LARGEST_BATCH:]
        is_committed = False
        try:
            # Who waited for the commit before has so much less time for this one.
            is_committed = self._commit([arrival for ticket in batch for arrival in ticket.arrivals], leader.deadline)
        finally:
            self._hand_over()
            for ticket in batch:
                ticket.is_committed = is_committed
                if ticket is not leader:
                    ticket.opened.release()
        if is_committed:
            notifier.announce()

    def _hand_over(self) -> None:
        with self._lock:
            abandoned: list[_Ticket] = []
            if time.monotonic() < self._refuses_until:
                abandoned, self._waiting = self._waiting, []
            self._is_led = bool(self._waiting)
            if self._is_led:
                self._waiting[0].leads = True
                self._waiting[0].opened.release()
        for ticket in abandoned:
            ticket.opened.release()

    def _commit(self, arrivals: list[Arrival], deadline: float) -> bool:
        was_connected = self._connection is not None
        try:
            return self._store(arrivals, deadline)
        except psycopg.Error as error:
            # A connection may have died while it was idle: once more on a new one, in what is left of the time.
            if was_connected and self._connection is None and time.monotonic() < deadline - DEADLINE_SECONDS / 2:
                return self._commit(arrivals, deadline)
            logger.error("webhook updates not stored", extra={"event": "store_failed", "error": type(error).__name__})
            return False

    def _store(self, arrivals: list[Arrival], deadline: float) -> bool:
        try:
            if self._connection is None:
                self._connection = connect()
                self._connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
            self._connection.deadline = deadline
            store(self._connection, arrivals)
        except psycopg.errors.QueryCanceled:
            raise  # The table is locked: the connection is as good as before.
        except psycopg.Error:
            self._disconnect()
            if time.monotonic() >= deadline - DEADLINE_SECONDS / 2:
                self._refuses_until = time.monotonic() + REFUSE_SECONDS
            raise
        return True

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


writer = Writer()
