"""Ours instead of waffle's, which clears an override by the way, refuses 12.5, and asks no gate."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.management.commands.rollout import request_of
from monitoring.rollout_control import terminal
from profiles.rollout import changes, rules
from profiles.rollout.models import Action, Flag
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import ChangeRefused

_UNUSED = ("superusers", "staff", "authenticated", "testing", "rollout", "group", "user", "append")


class Command(BaseCommand):
    help = "List flags, or set the percentage of one; phases go through the same checks as “rollout set”."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="the flag")
        parser.add_argument("-l", "--list", action="store_true", help="list the flags")
        parser.add_argument("-p", "--percent", help="0 to 100, two decimals")
        parser.add_argument("--everyone", action="store_true", help="the same as --percent 100")
        parser.add_argument("--deactivate", action="store_true", help="the same as --percent 0")
        parser.add_argument("--create", action="store_true", help="create the flag if there is none")
        parser.add_argument("--reason", default="", help="why; recorded for good")
        parser.add_argument("--force", action="store_true", help="past gates that do not pass; recorded with them")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, and write nothing")
        for name in _UNUSED:
            takes_value = {"action": "append"} if name in ("group", "user") else {"action": "store_true"}
            parser.add_argument(f"--{name}", **takes_value, help="of waffle: decides nothing here, and is refused")  # type: ignore[arg-type]

    def handle(self, *args: Any, name: str | None, **options: Any) -> None:
        if options["list"] or not name:
            for flag in Flag.objects.order_by("name"):
                self.stdout.write(f"{flag.name}\t{rules.format_percent(flag.percent)} %")
            return
        if unused := [option for option in _UNUSED if options[option]]:
            raise CommandError(f"--{unused[0]} does not decide a flag here: only the percentage does")
        wanted = "100" if options["everyone"] else "0" if options["deactivate"] else options["percent"]
        try:
            self._set(name, wanted, **options)
        except ChangeRefused as refused:
            raise CommandError(str(refused)) from None

    def _set(self, name: str, wanted: str | None, **options: Any) -> None:
        if name in PHASES:
            if wanted is None:
                raise CommandError("Give --percent, --everyone or --deactivate")
            request = request_of(Action.SET, options, phase=name, percent=wanted)
            self.stdout.write("\n".join(terminal.outcome(changes.apply(request))))
            return
        flag = Flag.objects.filter(name=name).first() or (
            Flag(name=name, salt=name[:50]) if options["create"] else None
        )
        if flag is None:
            raise CommandError(f"There is no flag “{name}”: --create makes it")
        request = request_of(Action.FLAG, options, flag=flag, percent=flag.percent if wanted is None else wanted)
        changes.apply(request)
        self.stdout.write(f"{name}: {rules.format_percent(request.percent)} %")
