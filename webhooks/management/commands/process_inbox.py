import logging
import signal
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.db import connection

from config.lib import tracing
from config.lib.commands import BaseCommand
from config.postgres.locks import limit_lock_waits
from profiles.rollout.heartbeat import heartbeat_thread
from webhooks.notify import SWEEP_SECONDS, listen, wait
from webhooks.processing import process_inbox

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Process the inbox: turn updates into profiles, until stopped or once with --once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="process the updates that are due, then exit")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        if once:
            connection.ensure_connection()
            self.stdout.write(f"Updates processed: {process_inbox()}")
            return
        stopping = threading.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stopping.set())
        tracing.start("inbox")
        limit_lock_waits()
        heartbeat_thread.start("inbox")
        while not stopping.is_set():
            try:
                with listen() as listener:
                    while not stopping.is_set():
                        process_inbox(stopping.is_set)
                        wait(listener, 0 if stopping.is_set() else SWEEP_SECONDS)
            except Exception:
                logger.exception("inbox worker failed", extra={"event": "inbox_failed"})
                connection.close()
                time.sleep(1)
