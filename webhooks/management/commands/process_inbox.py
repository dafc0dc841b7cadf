import logging
import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

from django.db import connection

from config.lib import tracing
from config.lib.commands import BaseCommand
from config.postgres.locks import limit_idle_transactions, limit_lock_waits
from profiles.rollout.heartbeat import heartbeat_thread
from webhooks.notify import SWEEP_SECONDS, Listener
from webhooks.processing import process_inbox

logger = logging.getLogger(__name__)
# Longer than a batch, which has a deadline, and the work after a failed batch.
_STALLED_SECONDS = 30.0


class Stopping(threading.Event):
    """The event that ends the inbox worker's loop.

    The loop checks the event before each batch; if it has not done so for a long time, it is assumed to hang.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen_at = time.monotonic()

    def is_set(self) -> bool:
        self._seen_at = time.monotonic()
        return super().is_set()

    def is_watched(self) -> bool:
        """Return whether the loop has checked the event in the last _STALLED_SECONDS."""
        return time.monotonic() - self._seen_at < _STALLED_SECONDS


class Command(BaseCommand):
    help = "Process the inbox: turn updates into profiles, until stopped or once with --once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="process the updates that are due, then exit")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        if once:
            connection.ensure_connection()
            self.stdout.write(f"Updates processed: {process_inbox()}")
            return
        stopping = Stopping()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stopping.set())
        tracing.start("inbox")
        limit_lock_waits()
        limit_idle_transactions()
        heartbeat_thread.start("inbox", stopping.is_watched)
        with closing(Listener()) as listener, ThreadPoolExecutor(1, "newest") as second_thread:
            listener.wait(0)
            while not stopping.is_set():
                try:
                    process_from_both_ends(stopping.is_set, second_thread)
                    listener.wait(0 if stopping.is_set() else SWEEP_SECONDS)
                except Exception:
                    logger.exception("inbox worker failed", extra={"event": "inbox_failed"})
                    connection.close()
                    time.sleep(1)


def process_from_both_ends(is_stopping: Callable[[], bool], second_thread: ThreadPoolExecutor) -> None:
    """Process all updates that are due; if there is more than a batch, process the newest ones in a second thread.

    New updates then do not wait for a backlog, and one thread computes while PostgreSQL works for the other. Raise the
    error of either thread; the updates of its batch stay pending.
    """
    beside: Future[None] | None = None

    def when_behind() -> None:
        nonlocal beside
        if beside is None or (beside.done() and not beside.exception()):
            beside = second_thread.submit(_process_newest, is_stopping)

    process_inbox(is_stopping, when_behind=when_behind)
    if beside:
        beside.result()


def _process_newest(is_stopping: Callable[[], bool]) -> None:
    try:
        process_inbox(is_stopping, newest=True)
    finally:
        connection.close()
