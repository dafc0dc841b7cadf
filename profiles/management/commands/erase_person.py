import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from config.lib import shell_user
from config.lib.commands import BaseCommand
from config.postgres.base import CommitNotConfirmed
from profiles.personal_data import erasure
from profiles.rollout.standby import HERE_ONLY
from profiles.typed_values import bare
from profiles.user_ids import user_id_of


class Command(BaseCommand):
    help = "Erase a person everywhere. An employee row stays, without the name; the audit row does not name the person."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user-id", required=True, help="the MAX user ID")
        parser.add_argument("--reason", required=True, help="why; stored permanently, so do not include names")
        parser.add_argument("--dry-run", action="store_true", help="count what would be erased, without erasing it")

    def handle(self, *args: Any, user_id: str, reason: str, dry_run: bool, **options: Any) -> None:
        try:
            user_id = user_id_of(bare(user_id))
        except ValueError as error:
            raise CommandError(str(error)) from None
        if not reason.strip():
            raise CommandError("--reason must not be empty")
        if dry_run:
            counts, is_partial = erasure.preview(user_id), False
        else:
            # Log lines would clutter the output, and the table below shows the same counts.
            logging.disable(logging.INFO)
            try:
                person = erasure.erase(user_id, by=shell_user.user(), reason=reason.strip()[:500])
                counts, is_partial = person.erased, person.is_partial
            except CommitNotConfirmed:
                raise CommandError(f"{HERE_ONLY} Repeat it when the standby is back.", returncode=3) from None
            finally:
                logging.disable(logging.NOTSET)
        width = max(map(len, counts), default=0)
        for table, count in sorted(counts.items()):
            self.stdout.write(f"{table:{width}}{count:>8}")
        if dry_run:
            self.stdout.write("Dry run: nothing was erased.")
        elif is_partial:
            self.stdout.write("Erased, but a background task is still searching other people's updates for the person.")
        else:
            self.stdout.write("Erased. A task repeats it in a minute, for updates that were in flight.")
