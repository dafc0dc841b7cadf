"""``manage.py validate``: exits 0 when every step came out, 1 with the step that did not."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from monitoring.validation import PATIENCE_SECONDS, Validation

_MARKS = {"ok": "✓", "skipped": "–", "failed": "✗"}


class Command(BaseCommand):
    help = "Send a synthetic person all the way: webhook, inbox, profile, Redis, employee; leaves no trace of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", help="send by HTTP to this web server, not to the receiver in this process")
        parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS, help="seconds to wait for the worker")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, url: str | None, patience: float, **options: Any) -> None:
        try:
            self._validate(url, patience, **options)
        except OperationalError as error:
            raise CommandError(f"PostgreSQL: {str(error).splitlines()[0]}") from None

    def _validate(self, url: str | None, patience: float, **options: Any) -> None:
        outcomes = []
        for outcome in Validation(url, patience).run():
            outcomes.append(outcome)
            if not options["json"]:
                self.stdout.write(f"{_MARKS[outcome.status]} {outcome.step:<14}{outcome.message}")
                self.stdout.flush()
        failed = [outcome for outcome in outcomes if outcome.status == "failed"]
        if options["json"]:
            told = {"ok": not failed, "steps": [asdict(outcome) for outcome in outcomes]}
            self.stdout.write(json.dumps(told, ensure_ascii=False))
        if failed:
            raise CommandError(f"{failed[0].step}: {failed[0].message}")
