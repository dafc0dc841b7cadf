"""``manage.py alerts``: what is wrong now, and what people answer to it; exits 1 when an answer is refused."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from config.env import parse_duration
from config.lib import shell_user
from monitoring.alerts import acknowledgements
from monitoring.alerts.models import RECENT, Alert
from monitoring.api.alerts import AlertSerializer
from monitoring.rollout_control import terminal


class Command(BaseCommand):
    help = "List alerts, acknowledge one, or mute one for a while."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
        listing = commands.add_parser("list", help="the open alerts; --all: those of the last 30 days too")
        listing.add_argument("--all", action="store_true")
        listing.add_argument("--json", action="store_true")
        for name, text in _ANSWERS.items():
            answer = commands.add_parser(name, help=text)
            answer.add_argument("id", type=int, help="as in the list")
            answer.add_argument("--dry-run", action="store_true", help="say what would happen, and write nothing")
            if name != "unmute":
                answer.add_argument("--by", help="login of who answers [that of this shell, where we know it]")
            if name == "mute":
                answer.add_argument("--for", dest="length", required=True, help="for how long: 2h, 30m")
                answer.add_argument("--reason", required=True)

    def handle(self, *args: Any, subcommand: str, **options: Any) -> None:
        if subcommand == "list":
            self._list(**options)
            return
        alert = Alert.objects.filter(pk=options["id"]).first()
        if alert is None:
            raise CommandError(f"There is no alert {options['id']}")
        try:
            self._answer(subcommand, alert, **options)
        except (acknowledgements.AcknowledgementRefused, ValueError) as refused:
            raise CommandError(str(refused)) from None

    def _answer(self, subcommand: str, alert: Alert, *, dry_run: bool, by: str | None = None, **options: Any) -> None:
        user = None if subcommand == "unmute" else _user(by)
        if dry_run:
            self.stdout.write(f"Dry run: would {subcommand} {alert.pk}: {alert.message}")
            return
        if user is None:
            acknowledgements.unmute(alert)
        elif subcommand == "acknowledge":
            acknowledgements.acknowledge(alert, user)
        else:
            until = timezone.now() + parse_duration(options["length"])
            acknowledgements.mute(alert, user, until=until, reason=options["reason"])
        self.stdout.write(f"{alert.pk} {alert.kind}: {_standing(alert)}")

    def _list(self, *, json: bool, **options: Any) -> None:
        alerts = Alert.objects.for_listing()
        if not options["all"]:
            alerts = alerts.filter(resolved_at=None)
        if json:
            self.stdout.write(_as_json(alerts))
            return
        rows = terminal.table(">ID", "SEVERITY", "SINCE", "ALERT", "MESSAGE", "STATE")
        for alert in alerts:
            state = _standing(alert)
            rows.add_row(str(alert.pk), alert.severity, f"{alert.fired_at:%F %H:%M}", alert.kind, alert.text, state)
        nothing = f"No alert in the last {RECENT.days} days" if options["all"] else "No alert is open"
        parts: list[Any] = [rows] if rows.row_count else [nothing]
        self.stdout.write(terminal.rendered(parts, has_colour=self.stdout.isatty()))


_ANSWERS = {
    "acknowledge": "note that somebody takes care of it",
    "mute": "deliver nothing of it for a while",
    "unmute": "deliver it again",
}


def _as_json(alerts: Any) -> str:
    return json.dumps(AlertSerializer(alerts, many=True).data, ensure_ascii=False, default=str)


def _user(login: str | None) -> AbstractBaseUser:
    """Return the user of this login, without one the shell's: who answers is asked about it later."""
    login, hint = (login, "") if login else (shell_user.login(), ": name who answers by --by LOGIN")
    user = get_user_model().objects.filter(username=login).first()
    if user is None:
        raise CommandError(f"There is no user {login}{hint}")
    return user


def _standing(alert: Alert) -> str:
    parts = ["open" if alert.is_open else f"resolved {alert.resolved_at:%F %H:%M}"]
    if alert.acknowledged_at:
        parts.append(f"acknowledged by {alert.acknowledged_by or 'somebody'}")
    if alert.is_muted:
        parts.append(f"muted until {alert.muted_until:%F %H:%M}: {alert.mute_reason}")
    return ", ".join(parts)
