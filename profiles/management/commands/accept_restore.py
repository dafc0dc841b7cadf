import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from config.lib import shell_user
from config.lib.commands import BaseCommand
from profiles import cache, restores

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Accept that PostgreSQL was restored from a backup: the alert ends, and Redis is filled from PostgreSQL."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="print the counters without accepting them")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        try:
            now, before = restores.lost_progress()
            for name in restores.COUNTERS:
                self.stdout.write(f"{name}: {now[name]}, before: {before.get(name, now[name])}")
            if not dry_run:
                cache.invalidate()
        except cache.CacheError as error:
            raise CommandError(f"Redis is unavailable: {error}") from None
        if dry_run:
            self.stdout.write("Dry run: nothing was accepted.")
            return
        logger.warning("restored database accepted", extra={"event": "restore_accepted", "by": shell_user.user()})
        self.stdout.write("Accepted. The task worker fills Redis again within seconds.")
