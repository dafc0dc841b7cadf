"""Override waffle's ``manage.py waffle_switch``, so that changes to the switches of the rollout follow its rules."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from waffle.management.commands import waffle_switch

from config.lib.messages import Message
from monitoring.management.commands.rollout import add_terms, refusals_as_errors, request_of
from monitoring.rollout_control import terminal
from profiles.rollout import changes
from profiles.rollout.approvals import APPROVAL_NEEDED
from profiles.rollout.models import Action
from profiles.rollout.phases import EMERGENCY_STOP, SWITCHES


class Command(waffle_switch.Command):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_terms(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        name, is_on = options["name"], options["state"]
        if name == EMERGENCY_STOP or (name in SWITCHES and is_on is None):
            raise CommandError(_USE % {"name": name})
        if name not in SWITCHES:
            super().handle(*args, **options)
            return
        reason = options["reason"].strip() or Message("Saved by a command; no reason given")
        request = request_of(Action.SWITCH, options | {"reason": reason}, switch=name, is_on=is_on)
        if not options["reason"].strip():
            needs_approval = changes.preview(request).needs_approval
            raise CommandError(str(APPROVAL_NEEDED) if needs_approval else _USE % {"name": name})
        with refusals_as_errors(self.stdout):
            self.stdout.write("\n".join(terminal.outcome(changes.apply(request))))


_USE = "“%(name)s” controls the rollout. Use “rollout switch %(name)s on|off --reason …”."
