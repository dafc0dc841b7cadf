"""``manage.py waffle_switch``: waffle's command, except for the rollout's switches, whose changes need a reason."""

from typing import Any

from django.core.management.base import CommandError
from waffle.management.commands import waffle_switch

from profiles.rollout.phases import EMERGENCY_STOP, SWITCHES


class Command(waffle_switch.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        if (name := options["name"]) in (*SWITCHES, EMERGENCY_STOP):
            raise CommandError(f"“{name}” controls the rollout. Use “rollout switch {name} on|off --reason …”.")
        super().handle(*args, **options)
