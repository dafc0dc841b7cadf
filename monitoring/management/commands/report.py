"""``manage.py report``: print the operations report of the last day, week or month, or write it as HTML."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError

from config.lib.commands import BaseCommand
from monitoring.dashboard import operations_report
from monitoring.dashboard.operations_report_page import page
from monitoring.rollout_control import terminal

_BAR_WIDTH = 30
_PERIODS = {
    "daily": "health and traffic of the last day",
    "weekly": "trends, cache and errors of the last week",
    "monthly": "sources and growth of the last month",
}


class Command(BaseCommand):
    help = "Report health, traffic and trends of the last day, week or month."

    def add_arguments(self, parser: ArgumentParser) -> None:
        periods = parser.add_mutually_exclusive_group(required=True)
        for period, text in _PERIODS.items():
            periods.add_argument(f"--{period}", dest="period", action="store_const", const=period, help=text)
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print JSON")
        form.add_argument("--html", type=Path, metavar="FILE", help="write a self-contained HTML file with charts")

    def handle(self, *args: Any, period: str, html: Path | None, **options: Any) -> None:
        try:
            report = operations_report.PERIODS[period]()
        except DatabaseError as error:
            raise CommandError(f"PostgreSQL: {str(error).splitlines()[0]}") from None
        if options["json"]:
            text = json.dumps(report.as_dict(), cls=DjangoJSONEncoder, ensure_ascii=False, indent=2)
        elif html:
            try:
                html.write_text(page(report))
            except OSError as error:
                raise CommandError(f"{html}: {error.strerror}") from None
            text = f"Report written to {html}"
        else:
            text = _rendered(report, has_colour=self.stdout.isatty() and not options.get("no_color"))
        self.stdout.write(text)


def _rendered(report: operations_report.OperationsReport, *, has_colour: bool) -> str:
    parts = []
    for data in report.tables:
        table = terminal.table(data.title.upper(), "")
        for name, value in data.rows:
            table.add_row(name, str(value))
        parts.append(table)
    for chart in report.charts:
        highest = max([1.0, *(value for _, value in chart.points)])
        table = terminal.table(chart.title.upper(), "", "")
        for day, value in chart.points:
            table.add_row(day, f"{value:g}", "█" * round(_BAR_WIDTH * value / highest))
        parts.append(table)
    return terminal.rendered(parts, has_colour=has_colour)
