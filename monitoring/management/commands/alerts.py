"""``manage.py alerts``: list, acknowledge and mute alerts; exits with 1 if the action is refused."""

from argparse import ArgumentParser
from json import dumps
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.utils import timezone

from config.env import parse_duration
from config.lib import shell_user, times
from config.lib.commands import BaseCommand
from monitoring.alerts.models import RECENT, AcknowledgementRefused, Alert
from monitoring.api.alerts import AlertSerializer
from monitoring.rollout_control import terminal

_ACTIONS = {
    "acknowledge": "record that you take care of an alert",
    "mute": "send no notifications for an alert for some time",
    "unmute": "send notifications for an alert again",
}


class Command(BaseCommand):
    help = "List alerts, acknowledge or mute one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
        listing = commands.add_parser("list", help="list the open alerts")
        listing.add_argument(
            "--all", action="store_true", help=f"include alerts resolved in the last {RECENT.days} days"
        )
        listing.add_argument("--json", action="store_true", help="print JSON")
        for name, text in _ACTIONS.items():
            action = commands.add_parser(name, help=text)
            action.add_argument("id", type=int, help="the ID from the list")
            action.add_argument("--dry-run", action="store_true", help="print what would happen without doing it")
            if name != "unmute":
                action.add_argument("--by", help="your login [that of the shell user, if known]")
            if name == "mute":
                action.add_argument("--for", dest="length", required=True, help="duration: 2h, 30m")
                action.add_argument("--reason", required=True, help="shown with the alert")

    def handle(self, *args: Any, subcommand: str, **options: Any) -> None:
        if subcommand == "list":
            self._list(**options)
            return
        alert = Alert.objects.filter(pk=options["id"]).first()
        if alert is None:
            raise CommandError(f"Alert {options['id']} does not exist.")
        try:
            self._act(subcommand, alert, **options)
        except (AcknowledgementRefused, ValueError) as refused:
            raise CommandError(str(refused)) from None

    def _act(self, subcommand: str, alert: Alert, *, dry_run: bool, by: str | None = None, **options: Any) -> None:
        # The alert records which user acted; the default is the login of the shell user.
        login = by or shell_user.login()
        user = get_user_model().objects.filter(username=login).first()
        if user is None and subcommand != "unmute":
            raise CommandError(
                f"User {login} does not exist." if by else f"User {login} does not exist: use --by LOGIN."
            )
        if dry_run:
            self.stdout.write(f"Dry run: would {subcommand} {alert.pk}: {alert.message}")
            return
        if subcommand == "unmute" or user is None:
            alert.unmute()
        elif subcommand == "acknowledge":
            alert.acknowledge(user)
        else:
            until = timezone.now() + parse_duration(options["length"])
            alert.mute(user, until=until, reason=options["reason"])
        self.stdout.write(f"{alert.pk} {alert.kind}: {_state(alert)}")

    def _list(self, *, json: bool, **options: Any) -> None:
        alerts = Alert.objects.for_listing()
        if not options["all"]:
            alerts = alerts.filter(resolved_at=None)
        if json:
            self.stdout.write(dumps(AlertSerializer(alerts, many=True).data, ensure_ascii=False, default=str))
            return
        rows = terminal.table(">ID", "SEVERITY", "SINCE", "ALERT", "MESSAGE", "STATE")
        for alert in alerts:
            state = _state(alert)
            rows.add_row(str(alert.pk), alert.severity, times.stamp(alert.fired_at), alert.kind, alert.text, state)
        nothing = f"No alerts in the last {RECENT.days} days." if options["all"] else "No open alerts."
        parts: list[Any] = [rows] if rows.row_count else [nothing]
        self.stdout.write(terminal.rendered(parts, has_colour=self.stdout.isatty()))


def _state(alert: Alert) -> str:
    parts = [f"resolved {times.stamp(alert.resolved_at)}" if alert.resolved_at else "open"]
    if alert.acknowledged_at:
        parts.append(f"acknowledged by {alert.acknowledged_by or 'a deleted user'}")
    if alert.is_muted and alert.muted_until:
        parts.append(f"muted until {times.stamp(alert.muted_until)}: {alert.mute_reason}")
    return ", ".join(parts)
