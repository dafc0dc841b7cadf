import asyncio
import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
from django.core.management.base import CommandError
from django.utils import timezone

from config.lib import terminal, times
from config.lib.commands import BaseCommand
from profiles.max_api import client
from profiles.max_api.client import MaxError
from webhooks import subscription
from webhooks.inbox import connect, store
from webhooks.notify import NOTIFY
from webhooks.payloads import LARGEST_ENVELOPE
from webhooks.receiver import arrivals_in

WAIT = timedelta(seconds=30)
PAUSE_SECONDS = 5.0


class Command(BaseCommand):
    help = "Fetch updates from MAX into the inbox by long polling, for development without a public URL."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="fetch the updates that are waiting, then exit")
        parser.add_argument("--marker", type=int, help="where an earlier run ended (default: MAX's newest update)")

    def handle(self, *args: Any, once: bool, marker: int | None, **options: Any) -> None:
        count, next_marker = 0, marker
        try:
            for item in subscription.subscriptions():
                self.stderr.write(f"MAX sends updates to {item.url}: unsubscribe it to get them by long polling")
            with terminal.console().status("No updates yet. Ctrl-C to stop.") as status:
                for updates, reached in self.batches(marker, once=once):
                    asyncio.run(_store(updates))
                    count, next_marker = count + len(updates), reached
                    status.update(f"Updates: {count}, the last at {times.stamp(timezone.now())}. Ctrl-C to stop.")
        except KeyboardInterrupt:
            pass  # The usual way to stop: the fetched updates are committed, and MAX will send the others again.
        except MaxError as error:
            raise CommandError(str(error)) from error
        except psycopg.Error as error:
            raise CommandError(f"Cannot write to the inbox: {type(error).__name__}") from error
        hint = f"; continue with --marker {next_marker}" if next_marker else ""
        self.stdout.write(f"Updates fetched: {count}{hint}")

    def batches(self, marker: int | None, *, once: bool) -> Iterator[tuple[list[Any], int | None]]:
        """Yield batches of updates, each with the marker for the next request.

        The next request acknowledges the batch. With ``once``, return when there are no more updates. Retry after an
        error, but raise MaxError if ``once`` is set or MAX refused the request.
        """
        wait = timedelta() if once else WAIT
        while True:
            params = {"limit": LARGEST_ENVELOPE, "timeout": int(wait.total_seconds()), "marker": marker}
            until = client.new_deadline(wait)
            try:
                updates, after = client.call("GET", "/updates", _batch_in, deadline=until, is_safe=True, params=params)
            except MaxError as error:
                if once or error.is_refused:
                    raise
                self.stderr.write(f"{error}; retrying")
                time.sleep(PAUSE_SECONDS)
                continue
            marker = marker if after is None else after
            if updates:
                yield updates, marker
            elif once:
                return


def _batch_in(answer: dict[str, Any]) -> tuple[list[Any], int | None]:
    updates, marker = answer["updates"], answer.get("marker")
    if not isinstance(updates, list) or not isinstance(marker, int | None):
        raise TypeError
    return updates, marker


async def _store(updates: list[Any]) -> None:
    async with await connect() as inbox:
        await store(inbox, arrivals_in(json.dumps({"updates": updates}).encode(), timezone.now()))
        await inbox.execute(NOTIFY)
