"""Ours instead of waffle's, so that a switch is turned with a reason, an audit row and a revision."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from waffle.models import Switch

from monitoring.management.commands.rollout import request_of
from monitoring.rollout_control import terminal
from profiles.rollout import changes
from profiles.rollout.models import Action
from profiles.rollout.phases import EMERGENCY_STOP, SWITCHES
from profiles.rollout.rules import ChangeRefused


class Command(BaseCommand):
    help = "List switches, or turn one on or off; “emergency_stop on” is an emergency rollback."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="the switch")
        parser.add_argument("state", nargs="?", choices=["on", "off"])
        parser.add_argument("-l", "--list", action="store_true", help="list the switches")
        parser.add_argument("--create", action="store_true", help="create the switch if there is none")
        parser.add_argument("--reason", default="", help="why; recorded for good")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, and write nothing")

    def handle(self, *args: Any, name: str | None, state: str | None, **options: Any) -> None:
        if options["list"] or not name:
            for switch in Switch.objects.order_by("name"):
                self.stdout.write(f"{switch.name}\t{'on' if switch.active else 'off'}")
            return
        if state is None:
            raise CommandError("Say on or off")
        if name in (*SWITCHES, EMERGENCY_STOP):
            try:
                outcome = changes.apply(request_of(Action.SWITCH, options, switch=name, is_on=state == "on"))
            except ChangeRefused as refused:
                raise CommandError(str(refused)) from None
            self.stdout.write("\n".join(terminal.outcome(outcome)))
            return
        if not options["create"] and not Switch.objects.filter(name=name).exists():
            raise CommandError(f"There is no switch “{name}”: --create makes it")
        if not options["dry_run"]:
            Switch.objects.update_or_create(name=name, defaults={"active": state == "on"})
        self.stdout.write(f"{name}: {state}")
