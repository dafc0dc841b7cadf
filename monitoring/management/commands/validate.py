"""``manage.py validate``: exits 0 when every step came out, 1 with the step that did not."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from monitoring.rollout_control.validation import PATIENCE_SECONDS, Validation

_MARKS = {"ok": "✓", "skipped": "–", "failed": "✗"}


class Command(BaseCommand):
    help = "Send a synthetic person all the way: webhook, inbox, profile, Redis, employee; leaves no trace of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", help="send by HTTP to this web server, not to the receiver in this process")
        parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS, help="seconds to wait for the worker")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, url: str | None, patience: float, **options: Any) -> None:
        refuse_no_address(url)
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


def refuse_no_address(url: str | None) -> None:
    if url is not None and not _is_address(url):
        raise CommandError(f"--url is an address such as http://127.0.0.1:8095, not “{url[:100]}”")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return False
