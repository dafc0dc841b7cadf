from argparse import ArgumentParser
from typing import Any

from config.lib.commands import BaseCommand
from monitoring.alerts import engine, outbox
from monitoring.alerts.models import Alert


class Command(BaseCommand):
    help = "Check the alerts once, as the task worker does every MONITORING_CHECK_INTERVAL, and send notifications."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-delivery", action="store_true", help="leave notifications to the task worker")

    def handle(self, *args: Any, no_delivery: bool, **options: Any) -> None:
        lines = engine.check_alerts()
        sent = 0 if no_delivery else outbox.deliver()
        count = Alert.objects.open().count()
        for line in lines:
            self.stdout.write(line)
        self.stdout.write(f"open alerts: {count}, changes: {len(lines)}, notifications sent: {sent}")
