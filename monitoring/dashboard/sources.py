"""The page about the name sources of employees: now, by university, by stage and over time."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from config.lib import audit_log
from config.lib.messages import Message
from config.lib.scope import requires_global_scope
from monitoring.dashboard import charts
from monitoring.dashboard.access import SEE, page, screen
from monitoring.dashboard.home import employee_shares, shares
from monitoring.stats.cached import statistic
from profiles.models import ProfileSource
from profiles.rollout.decision import COLLECTING, Reason, current_state

UNIVERSITIES_SHOWN = 50
# Spreadsheets treat a cell that begins with one of these as a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@screen(SEE)
@requires_global_scope
def distribution(request: HttpRequest) -> HttpResponse:
    sources = statistic("sources")
    rows = by_university(sources.value)
    by_stage: dict[int, Counter[str]] = defaultdict(Counter)
    state = current_state()
    for university, bucketed, source, count in statistic("stages").value:
        stage = state.under_rules(bucketed, Reason.SPLIT, university)[0] if bucketed >= COLLECTING else bucketed
        by_stage[stage][source] += count
    context = {
        "at": sources.at,
        "sources": employee_shares(),
        "total": sum(row["total"] for row in rows),
        "universities": rows if "all" in request.GET else rows[:UNIVERSITIES_SHOWN],
        "left_out": 0 if "all" in request.GET else max(len(rows) - UNIVERSITIES_SHOWN, 0),
        "stages": [
            {"stage": stage, "total": sum(counts.values()), "shares": shares(counts)}
            for stage, counts in sorted(by_stage.items())
        ],
        "levels": charts.source_history(),
        "over_time": charts.new_employees(statistic("sources_by_day").value),
    }
    return page(request, "sources.html", _("Name sources"), **context)


def by_university(rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """Group rows (university ID, name, source, count) into one dict per university, the largest university first."""
    by_source: dict[tuple[int, str], dict[str, int]] = defaultdict(dict)
    for university, name, source, count in rows:
        by_source[university, name][source] = count
    universities = [
        {"id": university, "name": name, "total": sum(counts.values()), "shares": shares(counts)}
        for (university, name), counts in by_source.items()
    ]
    return sorted(universities, key=lambda row: (-row["total"], row["name"]))


@screen(SEE)
@requires_global_scope
def export(request: HttpRequest) -> HttpResponse:
    """Return the sources by university as CSV, in UTF-8 with the byte order mark that spreadsheets expect."""
    sources = statistic("sources")
    audit_log.record(request, Message("Export of the name sources"))
    response = HttpResponse("\ufeff", content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="name-sources-{sources.at:%Y-%m-%d}.csv"'
    writer = csv.writer(response)
    writer.writerow(["university_id", "university", *ProfileSource.values, "total"])
    for row in by_university(sources.value):
        name = f"'{row['name']}" if row["name"].startswith(_FORMULA_STARTS) else row["name"]
        writer.writerow([row["id"], name, *(share.count for share in row["shares"]), row["total"]])
    return response
