"""``manage.py validate``: run the post-migration validation; if a step fails, name it and exit with 1."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import CommandError

from config.lib.commands import BaseCommand
from monitoring.rollout_control.guide.validation import PATIENCE_SECONDS, Validation

_MARKS = {"ok": "✓", "skipped": "–", "failed": "✗"}


class Command(BaseCommand):
    help = "Send a synthetic person through webhook, inbox, profile, Redis and employee, and remove every trace of it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", help="send over HTTP to this web server instead of the receiver in this process")
        parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS, help="seconds to wait for processing")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, url: str | None, patience: float, **options: Any) -> None:
        refuse_no_address(url)
        results = []
        for result in Validation(url, patience).run():
            results.append(result)
            if not options["json"]:
                self.stdout.write(f"{_MARKS[result.status]} {result.step:<14}{result.message}")
                self.stdout.flush()
        failed = [result for result in results if result.status == "failed"]
        if options["json"]:
            report = {"ok": not failed, "steps": [asdict(result) for result in results]}
            self.stdout.write(json.dumps(report, ensure_ascii=False))
        if failed:
            raise CommandError(f"{failed[0].step}: {failed[0].message}")


def refuse_no_address(url: str | None) -> None:
    try:
        parts = urlsplit(url or "")
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that cannot be parsed
        is_address = False
    if url is not None and not is_address:
        raise CommandError(f"--url must be an address such as http://127.0.0.1:8095, not “{url[:100]}”")
