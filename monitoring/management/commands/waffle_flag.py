"""``manage.py waffle_flag``: replaces waffle's command, which refuses 12.5% and does not check gates."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from config.lib.commands import BaseCommand
from monitoring.management.commands.rollout import add_terms, request_of
from monitoring.rollout_control import terminal
from profiles.rollout import changes, presenters
from profiles.rollout.models import Action, Flag
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import ChangeRefused

_UNUSED = ("superusers", "staff", "authenticated", "testing", "rollout", "group", "user", "append")


class Command(BaseCommand):
    help = "List the flags, or set the percentage of one. A phase follows the same rules as in “rollout set”."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="the flag")
        parser.add_argument("-l", "--list", action="store_true", help="list the flags")
        parser.add_argument("-p", "--percent", help="0 to 100, up to two decimals")
        parser.add_argument("--everyone", action="store_true", help="the same as --percent 100")
        parser.add_argument("--deactivate", action="store_true", help="the same as --percent 0")
        parser.add_argument("--create", action="store_true", help="create the flag if it does not exist")
        parser.add_argument("--force", action="store_true", help="go ahead although gates do not pass")
        add_terms(parser)
        for name in _UNUSED:
            takes_value = {"action": "append"} if name in ("group", "user") else {"action": "store_true"}
            parser.add_argument(f"--{name}", **takes_value, help="refused: only the percentage decides a flag here")  # type: ignore[arg-type]

    def handle(self, *args: Any, name: str | None, **options: Any) -> None:
        if options["list"] or not name:
            for flag in Flag.objects.order_by("name"):
                self.stdout.write(f"{flag.name}\t{presenters.percentage(flag.percent)}")
            return
        if unused := [option for option in _UNUSED if options[option]]:
            raise CommandError(f"--{unused[0]} has no effect here: only the percentage decides a flag")
        options["percent"] = "100" if options["everyone"] else "0" if options["deactivate"] else options["percent"]
        try:
            self._set(name, **options)
        except ChangeRefused as refused:
            raise CommandError(str(refused)) from None

    def _set(self, name: str, percent: str | None, **options: Any) -> None:
        if name in PHASES:
            if percent is None:
                raise CommandError("Give --percent, --everyone or --deactivate")
            request = request_of(Action.SET, options, phase=name, percent=percent)
            self.stdout.write("\n".join(terminal.outcome(changes.apply(request))))
            return
        flag = Flag.objects.filter(name=name).first()
        if flag is None and not options["create"]:
            raise CommandError(f"There is no flag “{name}”. Create it with --create.")
        flag = flag or Flag(name=name, salt=name[:50])
        request = request_of(Action.FLAG, options, flag=flag, percent=flag.percent if percent is None else percent)
        changes.apply(request)
        self.stdout.write(f"{name}: {presenters.percentage(request.percent)}")
