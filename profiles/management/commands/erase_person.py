import logging
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.lib import shell_user
from profiles import erasure
from profiles.user_ids import user_id_of


@contextmanager
def _without_events() -> Iterator[None]:
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class Command(BaseCommand):
    help = "Erase a person everywhere; of employees the row stays, without the name. Recorded without the person."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user-id", required=True, help="the MAX id")
        parser.add_argument("--reason", required=True, help="why; kept for good, so no names")
        parser.add_argument("--dry-run", action="store_true", help="count what would be erased, and do nothing")

    def handle(self, *args: Any, user_id: str, reason: str, dry_run: bool, **options: Any) -> None:
        try:
            user_id = user_id_of(user_id)
        except ValueError as error:
            raise CommandError(str(error)) from None
        if not reason.strip():
            raise CommandError("--reason must say why")
        if dry_run:
            counts = erasure.preview(user_id)
        else:
            # The table tells what the log's line would, amid it.
            with _without_events():
                counts = erasure.erase(user_id, by=shell_user.user(), reason=reason.strip()[:500])
        width = max(map(len, counts), default=0)
        for table, count in sorted(counts.items()):
            self.stdout.write(f"{table:{width}}{count:>8}")
        self.stdout.write(
            "Dry run: nothing was erased" if dry_run else "Erased, and what comes late with the next task"
        )
