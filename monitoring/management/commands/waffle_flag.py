"""Override waffle's ``manage.py waffle_flag``, so that changes to phases follow the rules and gates of the rollout."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from waffle.management.commands import waffle_flag

from config.lib import shell_user
from config.lib.messages import Message
from monitoring.management.commands.rollout import add_terms, refusals_as_errors, request_of
from monitoring.rollout_control import terminal
from profiles.rollout import changes, rules
from profiles.rollout.models import Action
from profiles.rollout.phases import BUCKETED, PHASES

_CRITERIA = ("superusers", "staff", "authenticated", "testing", "rollout", "group", "user")


class Command(waffle_flag.Command):
    help = "List the flags, or change one. A phase follows the same rules as in “rollout set”."

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        return super().create_parser(*args, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        # Replaces waffle's argument, which refuses 12.5.
        parser.add_argument("-p", "--percent", help="0 to 100, up to two decimals")
        parser.add_argument(
            "--force", action="store_true", help="take the step even if some gates have not passed (phases)"
        )
        add_terms(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        if options["list_flags"] or not name:
            super().handle(*args, **options)
            return
        with refusals_as_errors(self.stdout):
            if name in BUCKETED:
                for criterion in filter(options.get, _CRITERIA):
                    rules.refuse_criterion(name, f"--{criterion}")
            if name in PHASES:
                self._set_phase(name, options)
            else:
                self._set_flag(options)

    def _set_phase(self, name: str, options: dict[str, Any]) -> None:
        percent = {True: "100", False: "0", None: options["percent"]}[options["everyone"]]
        if percent is None:
            raise CommandError("Give --percent, --everyone or --deactivate")
        request = request_of(Action.SET, options, phase=name, percent=percent)
        self.stdout.write("\n".join(terminal.outcome(changes.apply(request))))

    def _set_flag(self, options: dict[str, Any]) -> None:
        """Run waffle's command in a transaction, which is rolled back in a dry run."""
        if options["percent"] is not None:
            options["percent"] = rules.percentage(options["percent"])
        reason = options["reason"]
        if options["name"] not in BUCKETED:
            reason = reason.strip() or Message("Saved by a command; no reason given")
        with transaction.atomic(), changes.recorded_as_command(options["by"] or shell_user.login(), reason):
            super().handle(**options)
            transaction.set_rollback(options["dry_run"])
