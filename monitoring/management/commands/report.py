"""``manage.py report``: print the operations report of the last day, week or month, or write it as HTML."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _
from rich.table import Table

from config.lib.commands import BaseCommand
from config.lib.messages import shown_number
from monitoring import operations_report
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
        languages = [code for code, _name in settings.LANGUAGES]
        parser.add_argument("--language", choices=languages, default="en", help="of the titles and units [en]")
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print JSON")
        form.add_argument("--html", type=Path, metavar="FILE", help="write a self-contained HTML file with charts")

    def handle(self, *args: Any, period: str, html: Path | None, language: str, **options: Any) -> None:
        with translation.override(language):
            self._write(operations_report.PERIODS[period](), html, options)

    def _write(self, report: operations_report.OperationsReport, html: Path | None, options: dict[str, Any]) -> None:
        if options["json"]:
            text = json.dumps(asdict(report), cls=DjangoJSONEncoder, ensure_ascii=False, indent=2)
        elif html:
            try:
                html.write_text(render_to_string("operations_report.html", {"report": report}))
            except OSError as error:
                raise CommandError(f"{html}: {error.strerror}") from None
            text = f"Report written to {html}"
        else:
            has_colour = self.stdout.isatty() and not options.get("no_color")
            text = terminal.rendered(_tables(report), has_colour=has_colour, width=80)
        self.stdout.write(text)


def _tables(report: operations_report.OperationsReport) -> Iterator[Table | str]:
    for data in report.tables:
        table = terminal.table(data.title.upper(), "")
        for name, value in data.lines:
            table.add_row(name, value)
        yield table
        yield ""
    if report.charts:
        yield _("Days begin and end in UTC.")
        yield ""
    for chart in report.charts:
        table = terminal.table(chart.title.upper(), "", "")
        for day, number in chart.points:
            table.add_row(day, shown_number(number), "█" * round(_BAR_WIDTH * number / chart.highest))
        if not chart.points:
            table.add_row(_("none"), "", "")
        yield table
        yield ""
