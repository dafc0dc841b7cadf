"""``manage.py waffle_delete``: waffle's command; it audits deleted flags and refuses those of the rollout."""

from typing import Any

from django.core.management.base import CommandError
from django.db import transaction
from waffle.management.commands import waffle_delete

from config.lib import shell_user
from config.lib.messages import Message
from profiles.rollout import changes
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.models import Action, Flag
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SHADOW, SWITCHES


class Command(waffle_delete.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        flags, switches = options["flag_names"] or (), options["switch_names"] or ()
        if protected := sorted({*PHASES, SHADOW, *SWITCHES, EMERGENCY_STOP} & {*flags, *switches}):
            raise CommandError(f"“{protected[0]}” controls the rollout and cannot be deleted. Turn it off instead.")
        by, reason = shell_user.login(), Message("Deleted without a reason")
        with transaction.atomic():
            for flag in Flag.objects.filter(name__in=flags):
                changes.apply(ChangeRequest.of(Action.DELETE, Source.COMMAND, by=by, reason=reason, flag=flag))
            super().handle(*args, **options)
