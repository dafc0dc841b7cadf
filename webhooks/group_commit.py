"""Group commit: updates that arrive while a commit is in progress are committed together by the next commit.

Everything runs in the event loop of the web process, over one connection. If PostgreSQL does not respond, a request
fails after about DEADLINE_SECONDS at most.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextvars import Context
from functools import cached_property

import psycopg

from webhooks.inbox import Arrival, InboxConnection, connect, store
from webhooks.notify import Notifier

# With this deadline, a request is answered within three seconds, even on a busy machine or if PostgreSQL does not react
# to a cancellation.
DEADLINE_SECONDS = 2.4
# In updates: the number in the largest envelope. There is a prepared statement for each number up to this one.
LARGEST_BATCH = 100
LARGEST_QUEUE = 2000
# How long to refuse requests after PostgreSQL has timed out, so that not every request waits until its deadline.
REFUSE_SECONDS = 0.5

logger = logging.getLogger(__name__)


class NotStored(Exception):
    """Raised if the updates may not have been committed; the sender has to send them again."""


# The arrivals of a request, the future that it awaits, and its deadline in monotonic seconds.
_Waiting = tuple[Sequence[Arrival], asyncio.Future[bool], float]


class GroupCommitter:
    def __init__(self) -> None:
        self._queue: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._connection: InboxConnection | None = None
        self._refuses_until = 0.0
        self._notifier = Notifier()

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop that runs at the first use; each call of get_running_loop() is a system call."""
        return asyncio.get_running_loop()

    async def insert(self, arrivals: Sequence[Arrival]) -> None:
        """Queue the arrivals and wait until they are committed; raise NotStored if that fails or takes too long."""
        now = time.monotonic()
        if now < self._refuses_until:
            raise NotStored("PostgreSQL is not responding")
        if len(self._queue) >= LARGEST_QUEUE:
            raise NotStored("the queue is full")
        is_committed: asyncio.Future[bool] = self.loop.create_future()
        self._queue.append((arrivals, is_committed, now + DEADLINE_SECONDS))
        if self._task is None:
            # The task must not run in the context of this request, because it stores updates of other requests too.
            self._task = self.loop.create_task(self._commit_queue(), context=Context())
        if not await is_committed:
            raise NotStored("PostgreSQL did not store it")

    async def _commit_queue(self) -> None:
        """Commit the queue, one batch after the other, until it is empty."""
        batch: list[_Waiting] = []
        stored = False
        try:
            while self._queue:
                batch, stored = self._next_batch(), False
                stored = await self._store([arrival for arrivals, _, _ in batch for arrival in arrivals], batch[0][2])
                if not stored and time.monotonic() < self._refuses_until:
                    batch += self._queue
                    self._queue.clear()
                # The requests of this batch continue only after the next statement has been sent.
                _answer(batch, stored)
                if stored:
                    # After the answers: the senders wait for them, but nobody waits for a notification.
                    self._notifier.notify()
        finally:
            # Nothing is left here unless an error of our own has ended the loop.
            _answer(batch, stored)
            _answer(self._queue, is_committed=False)
            self._queue.clear()
            self._task = None

    def _next_batch(self) -> list[_Waiting]:
        """Return the first requests of the queue: at most LARGEST_BATCH updates together, but at least one request."""
        batch = [self._queue.popleft()]
        updates = len(batch[0][0])
        while self._queue and (updates := updates + len(self._queue[0][0])) <= LARGEST_BATCH:
            batch.append(self._queue.popleft())
        return batch

    async def _store(self, arrivals: list[Arrival], deadline: float) -> bool:
        """Commit the arrivals; return whether that succeeded.

        If the connection was lost while it was idle, reconnect and try once more.
        """
        was_connected = self._connection is not None
        try:
            if self._connection is None:
                async with asyncio.timeout_at(self.loop.time() + deadline - time.monotonic()):
                    self._connection = await connect()
            self._connection.deadline = deadline
            await store(self._connection, arrivals)
            return True
        except (psycopg.Error, TimeoutError) as error:
            # A cancelled statement means that the table is locked; the connection can still be used.
            if not isinstance(error, psycopg.errors.QueryCanceled):
                await self._close()
                if time.monotonic() >= deadline - DEADLINE_SECONDS / 2:
                    self._refuses_until = time.monotonic() + REFUSE_SECONDS
                elif was_connected:
                    return await self._store(arrivals, deadline)
            logger.error("webhook updates not stored", extra={"event": "store_failed", "error": type(error).__name__})
            return False

    async def drain(self) -> None:
        """Wait until the queue is committed and the inbox worker has been notified, then close the connections."""
        if self._task:
            await self._task
        await self._notifier.stop()
        await self._close()

    async def _close(self) -> None:
        if self._connection:
            await self._connection.close()
            self._connection = None


def _answer(waiting: Iterable[_Waiting], is_committed: bool) -> None:
    for _, answer, _ in waiting:
        if not answer.done():
            answer.set_result(is_committed)
