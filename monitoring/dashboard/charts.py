"""Charts as plain data, which screens.js draws with the theme's chart.js.

In charts of stored snapshots, a missing snapshot is a gap in the line; with fewer than two, the chart is None.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from monitoring.stats.directory import DAYS
from monitoring.stats.models import Span
from monitoring.stats.snapshots import history
from profiles.models import ProfileSource

# Names of colours by meaning: screens.js looks them up in the current theme.
SOURCE_COLOURS = {
    ProfileSource.WEBHOOK: "webhook",
    ProfileSource.USER_INPUT: "own",
    ProfileSource.API: "api",
    ProfileSource.MANUAL: "manual",
    ProfileSource.DEFAULT: "unknown",
}

_MEGABYTE = 1024 * 1024
# A line of a chart of snapshots: their metric, the label, the colour, and the factor for the values.
Line = tuple[str, object, str, float]


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


def source_history() -> dict[str, Any] | None:
    """Return the chart of employees by name source at the start of each of the last 30 days."""
    lines: list[Line] = [(f"employees.{source}", source.label, SOURCE_COLOURS[source], 1) for source in ProfileSource]
    title = _("Employees by name source, 30 days")
    return _history("bar", lines, span=Span.DAY, length=timedelta(days=DAYS - 1), is_stacked=True, title=title)


def hit_rate() -> dict[str, Any] | None:
    lines: list[Line] = [("cache.hit_rate", _("Hit rate, %"), "good", 100)]
    return _history("line", lines, title=_("Hit rate, 48 hours"), most=100)


def memory(limit_bytes: int | None) -> dict[str, Any] | None:
    """Return the chart of Redis memory, with the current limit as a line; 0 and None mean no limit."""
    lines: list[Line] = [("cache.memory_bytes", _("Memory, MB"), "webhook", 1 / _MEGABYTE)]
    drawn = _history("line", lines, title=_("Memory, 48 hours"))
    if drawn and limit_bytes:
        limit = [round(limit_bytes / _MEGABYTE, 2)] * len(drawn["labels"])
        drawn["series"].append(series(_("Limit, MB"), limit, "bad", is_dashed=True))
    return drawn


def _history(
    kind: str, lines: list[Line], *, span: Span = Span.HOUR, length: timedelta = timedelta(hours=48), **options: Any
) -> dict[str, Any] | None:
    points = history([metric for metric, *_rest in lines], since=timezone.now() - length, span=span)
    first = points[lines[0][0]]
    if sum(value is not None for _at, value in first) < 2:
        return None
    label_format = day_format() if span == Span.DAY else f"{day_format()} H:i"
    drawn = []
    for metric, label, colour, factor in lines:
        values = [None if value is None else round(value * factor, 2) for _at, value in points[metric]]
        drawn.append(series(label, values, colour))
    return chart(kind, [date_format(at, label_format) for at, _value in first], *drawn, **options)
