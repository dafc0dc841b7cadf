"""Who answered for the employees' names: now, by university, by stage, over time."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from config.lib import audit_log
from config.lib.messages import Message
from config.lib.scope import requires_global_scope
from monitoring.dashboard import charts, history_charts
from monitoring.dashboard.access import SEE, page, screen
from monitoring.dashboard.home import shares, source_counts
from monitoring.stats.directory import figure, figures
from profiles.models import ProfileSource

UNIVERSITIES_SHOWN = 50
# Spreadsheets take a cell that begins so for a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@screen(SEE)
@requires_global_scope
def distribution(request: HttpRequest) -> HttpResponse:
    kept = figures("sources", "sources_by_day", "sources_by_stage")
    rows = by_university(kept["sources"].value)
    context = {
        "at": kept["sources"].at,
        "sources": shares(source_counts(kept["sources"].value)),
        "total": sum(row["total"] for row in rows),
        "universities": rows[:UNIVERSITIES_SHOWN],
        "left_out": max(len(rows) - UNIVERSITIES_SHOWN, 0),
        "stages": by_stage(kept["sources_by_stage"].value),
        "levels": history_charts.sources(),
        "over_time": charts.new_employees(kept["sources_by_day"].value),
    }
    return page(request, "sources.html", _("Name sources"), **context)


def by_university(rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """Return a row a university, the largest first."""
    counts: dict[tuple[int, str], dict[str, int]] = defaultdict(dict)
    for university, name, source, n in rows:
        counts[university, name][source] = n
    found = [
        {"id": university, "name": name, "total": sum(of.values()), "shares": shares(of)}
        for (university, name), of in counts.items()
    ]
    return sorted(found, key=lambda row: (-row["total"], row["name"]))


def by_stage(rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    for stage, source, n in rows:
        counts[stage][source] = n
    return [{"stage": stage, "total": sum(of.values()), "shares": shares(of)} for stage, of in sorted(counts.items())]


@screen(SEE)
@requires_global_scope
def export(request: HttpRequest) -> HttpResponse:
    """Send the distribution by university as CSV, in UTF-8 with the mark that spreadsheets look for."""
    kept = figure("sources")
    audit_log.record(request, Message("Export of the name sources"))
    response = HttpResponse("\ufeff", content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_name(kept.at)}"'
    writer = csv.writer(response)
    writer.writerow(["university_id", "university", *ProfileSource.values, "total"])
    for row in by_university(kept.value):
        counts = [share.count for share in row["shares"]]
        writer.writerow([row["id"], _cell(row["name"]), *counts, row["total"]])
    return response


def _name(at: datetime) -> str:
    return f"name-sources-{at:%Y-%m-%d}.csv"


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
