"""Notify the inbox worker of new rows with PostgreSQL's NOTIFY, on a separate connection, after the commit.

A NOTIFY inside the inserting transaction would serialize all commits on one lock; a Celery task would need the broker.
If a notification is lost, the inbox worker finds the rows when it next looks for work, at most SWEEP_SECONDS later.
"""

from __future__ import annotations

import asyncio
import logging
import time

import psycopg
from django.conf import settings

from config.postgres.base import DeadlineConnection, parameters, statement_deadline
from config.postgres.pooler import closed_on_error
from webhooks.inbox import InboxConnection, connect

CHANNEL = "webhook_inbox"
NOTIFY = f"NOTIFY {CHANNEL}".encode()
SWEEP_SECONDS = 2.0
# Each notification leads to a batch, which costs as much processor time as 40 updates even if it has one update.
_PAUSE_SECONDS = 0.04
_RECONNECT_SECONDS = 1.0
_CONNECT_SECONDS, _RELISTEN_SECONDS = 2.0, 10.0

logger = logging.getLogger(__name__)


class Notifier:
    """A task that notifies the inbox worker at most once per _PAUSE_SECONDS, however many rows are inserted."""

    def __init__(self) -> None:
        self._has_arrivals = False
        self._task: asyncio.Task[None] | None = None
        self._connection: InboxConnection | None = None

    def notify(self) -> None:
        """Schedule a notification without waiting for PostgreSQL."""
        self._has_arrivals = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._has_arrivals:
                self._has_arrivals = False
                await self._send()
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._task = None

    async def _send(self) -> None:
        try:
            if self._connection is None:
                self._connection = await connect()
            await self._connection.run_prepared(b"notify", NOTIFY, [], [])
        except psycopg.Error as error:
            extra = {"event": "wakeup_lost", "error": type(error).__name__}
            logger.warning("inbox notification not sent", extra=extra)
            await self._close()
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def stop(self) -> None:
        """Wait up to a second for a pending notification to be sent, then close the connection."""
        if task := self._task:
            await asyncio.wait([task], timeout=1.0)
            task.cancel()
        await self._close()

    async def _close(self) -> None:
        if self._connection:
            await self._connection.close()
            self._connection = None


class Listener:
    """Wait for notifications of new rows in the inbox.

    If the connection for LISTEN fails, wait for the time of the next regular check instead of raising an error. LISTEN
    uses DATABASE_DIRECT_URL, so it may fail while updates can still be processed through DATABASE_URL.
    """

    def __init__(self) -> None:
        self._connection: DeadlineConnection | None = None
        self._retry_at = 0.0

    def wait(self, timeout: float = SWEEP_SECONDS) -> None:
        """Wait for a notification, for at most ``timeout`` seconds.

        If this call opens the connection for LISTEN, return at once, because notifications may have been missed.
        """
        try:
            if self._connection:
                wait(self._connection, timeout)
                return
            if time.monotonic() >= self._retry_at:
                with statement_deadline(_CONNECT_SECONDS):
                    self._connection = listen()
                # The notifications of updates that were stored before LISTEN began have not been received.
                return
        except psycopg.Error as error:
            extra = {"event": "listen_failed", "error": type(error).__name__}
            logger.warning("inbox notifications not received", extra=extra)
            self.close()
            self._retry_at = time.monotonic() + _RELISTEN_SECONDS
        time.sleep(timeout)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def listen() -> DeadlineConnection:
    """Open a connection that receives the notifications sent from now on; raise psycopg.Error if that fails.

    Use DATABASE_DIRECT_URL, if set: LISTEN belongs to a session, so no notifications arrive through a pooler.
    """
    listener = DeadlineConnection.connect(**parameters(settings.DATABASE_DIRECT), autocommit=True)
    with closed_on_error(listener):
        if not listener.pooling.is_pooled:
            listener.execute(f"LISTEN {CHANNEL}")
    return listener


def wait(listener: DeadlineConnection, timeout: float = SWEEP_SECONDS) -> None:
    """Wait for a notification, for at most ``timeout`` seconds; raise psycopg.Error if the connection is lost."""
    if listener.pooling.is_pooled:
        time.sleep(timeout)
        return
    for _ in listener.notifies(timeout=timeout, stop_after=1):
        pass
