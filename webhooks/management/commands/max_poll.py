import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console

from webhooks import subscription
from webhooks.inbox import connect, store
from webhooks.receiver import arrivals_in
from webhooks.subscription import Polled
from webhooks.wakeup import waker

WAIT = timedelta(seconds=30)
PAUSE_SECONDS = 5.0


class Command(BaseCommand):
    help = "Read updates from MAX into the inbox by long polling: for development without a public address."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="read what is there, then exit")
        parser.add_argument(
            "--marker", type=int, help="go on where an earlier run ended; without one MAX begins at its newest update"
        )

    def handle(self, *args: Any, once: bool, marker: int | None, **options: Any) -> None:
        count, next_marker = 0, marker
        try:
            self.warn_of_subscriptions()
            with Console(stderr=True).status("no updates yet; Ctrl-C ends") as status, closing(connect()) as inbox:
                for polled in self.rounds(marker, once=once):
                    store(inbox, arrivals_in(polled.body, timezone.now()))
                    waker.announce()
                    count, next_marker = count + polled.total, polled.marker
                    status.update(f"updates: {count}, the last at {timezone.localtime():%T}; Ctrl-C ends")
        except KeyboardInterrupt:
            pass  # The usual end: what was read is committed, and the rest comes again.
        except subscription.PlatformError as error:
            raise CommandError(str(error)) from error
        except psycopg.Error as error:
            raise CommandError(f"the inbox cannot be written: {type(error).__name__}") from error
        self.stdout.write(f"updates read: {count}" + (f"; --marker {next_marker} goes on" if next_marker else ""))

    def warn_of_subscriptions(self) -> None:
        for item in subscription.subscriptions():
            self.stderr.write(f"MAX sends updates to {item.url}: long polling sees none until it is unsubscribed")

    def rounds(self, marker: int | None, *, once: bool) -> Iterator[Polled]:
        """Yield answers that hold updates; what was yielded is acknowledged by the next question."""
        while True:
            try:
                polled = subscription.poll(marker, wait=timedelta() if once else WAIT)
            except subscription.PlatformError as error:
                if once or isinstance(error, subscription.PlatformRefusal):
                    raise
                self.stderr.write(f"{error}; trying again")
                time.sleep(PAUSE_SECONDS)
                continue
            if polled.total:
                yield polled
            elif once:
                return
            marker = polled.marker
