from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError
from rich.table import Table

from monitoring.dashboard import operations_report
from monitoring.dashboard.operations_report_page import page
from monitoring.rollout_control import terminal

_BAR = 30


class Command(BaseCommand):
    help = "Show what the day, the week or the month brought, and what to look at."

    def add_arguments(self, parser: ArgumentParser) -> None:
        period = parser.add_mutually_exclusive_group(required=True)
        period.add_argument("--daily", dest="period", action="store_const", const="daily", help="health and traffic")
        period.add_argument(
            "--weekly", dest="period", action="store_const", const="weekly", help="trends, cache, errors"
        )
        period.add_argument(
            "--monthly", dest="period", action="store_const", const="monthly", help="sources and growth"
        )
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="for programs")
        form.add_argument("--html", type=Path, metavar="FILE", help="one file with charts, that loads nothing else")

    def handle(self, *args: Any, period: str, json: bool, html: Path | None, **options: Any) -> None:
        try:
            made = operations_report.PERIODS[period]()
        except DatabaseError as error:
            raise CommandError(f"PostgreSQL: {str(error).splitlines()[0]}") from None
        if json:
            self.stdout.write(_as_json(made))
        elif html:
            self._write(html, page(made))
        else:
            parts = [*map(_table, made.tables), *map(_chart, made.charts)]
            has_colour = self.stdout.isatty() and not options.get("no_color")
            self.stdout.write(terminal.rendered(parts, has_colour=has_colour))

    def _write(self, path: Path, text: str) -> None:
        try:
            path.write_text(text)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from None
        self.stdout.write(f"Written to {path}")


def _as_json(made: operations_report.OperationsReport) -> str:
    return json.dumps(made.as_dict(), cls=DjangoJSONEncoder, ensure_ascii=False, indent=2)


def _table(table: operations_report.Table) -> Table:
    shown = terminal.table(table.title.upper(), "")
    for name, value in table.rows:
        shown.add_row(name, str(value))
    return shown


def _chart(chart: operations_report.Chart) -> Table:
    highest = max([1.0, *(value for _, value in chart.points)])
    shown = terminal.table(chart.title.upper(), "", "")
    for day, value in chart.points:
        shown.add_row(day, f"{value:g}", "█" * round(_BAR * value / highest))
    return shown
