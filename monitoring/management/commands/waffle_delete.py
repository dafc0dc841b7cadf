"""``manage.py waffle_delete``: run waffle's command and write an audit row; refuse to delete the rollout's own rows."""

from typing import Any

from django.core.management.base import CommandError
from django.db import transaction
from waffle.management.commands import waffle_delete

from config.lib import shell_user
from config.lib.messages import Message
from monitoring.management.commands.rollout import refusals_as_errors
from profiles.rollout import changes
from profiles.rollout.phases import RESERVED


class Command(waffle_delete.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        flags, switches = options["flag_names"] or (), options["switch_names"] or ()
        if protected := sorted(RESERVED & {*flags, *switches}):
            raise CommandError(f"“{protected[0]}” controls the rollout and cannot be deleted. Turn it off instead.")
        reason = Message("Deleted; no reason given")
        command = changes.recorded_as_command(shell_user.login(), reason)
        with refusals_as_errors(self.stdout), transaction.atomic(), command:
            super().handle(*args, **options)
