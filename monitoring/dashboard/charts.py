"""Charts as plain data, which screens.js draws with the theme's chart.js."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from monitoring.stats.directory import DAYS
from profiles.models import ProfileSource

# Names of colours by meaning: screens.js looks them up in the current theme.
SOURCE_COLOURS = {
    ProfileSource.WEBHOOK: "webhook",
    ProfileSource.USER_INPUT: "own",
    ProfileSource.API: "api",
    ProfileSource.MANUAL: "manual",
    ProfileSource.DEFAULT: "unknown",
}


def series(label: object, values: Iterable[Any], colour: str, **options: Any) -> dict[str, Any]:
    return {"label": str(label), "data": list(values), "colour": colour, **options}


def chart(kind: str, labels: Sequence[str], *lines: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"kind": kind, "labels": list(labels), "series": list(lines), **options}


def last_days() -> list[str]:
    """Return the last DAYS days, today included, as ISO dates in UTC, the oldest first."""
    today = timezone.now().date()
    return [(today - timedelta(days=back)).isoformat() for back in range(DAYS - 1, -1, -1)]


def day_format() -> str:
    """Return the date format of a day with a short month, which is capitalised in English only."""
    return "j M" if get_language() == "en" else "j b"


def day_label(iso: str) -> str:
    return date_format(date.fromisoformat(iso), day_format())


def new_employees(rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return the chart of new employees per day, from rows of day, source and number of employees."""
    days, counts = last_days(), {(day, source): number for day, source, number in rows}
    lines = [
        series(source.label, [counts.get((day, source), 0) for day in days], SOURCE_COLOURS[source])
        for source in ProfileSource
    ]
    title = _("New employees by name source, by day")
    return chart("bar", [day_label(day) for day in days], *lines, is_stacked=True, unit="", title=title)
