"""Charts of stored snapshots. A missing snapshot is a gap in the line; with fewer than two, the chart is None."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from monitoring.dashboard import charts
from monitoring.stats.directory import DAYS
from monitoring.stats.models import Span
from monitoring.stats.snapshots import history
from profiles.models import ProfileSource

_MEGABYTE = 1024 * 1024
# A line of a chart: the metric of its snapshots, the label, the colour, and the factor for the values.
Line = tuple[str, object, str, float]


def sources() -> dict[str, Any] | None:
    """Return the chart of employees by name source at the start of each of the last 30 days."""
    lines: list[Line] = [
        (f"employees.{source}", source.label, charts.SOURCE_COLOURS[source], 1) for source in ProfileSource
    ]
    title = _("Employees by name source, 30 days")
    return _chart("bar", lines, span=Span.DAY, length=timedelta(days=DAYS - 1), is_stacked=True, title=title)


def hit_rate() -> dict[str, Any] | None:
    lines: list[Line] = [("cache.hit_rate", _("Hit rate, %"), "good", 100)]
    return _chart("line", lines, title=_("Hit rate, 48 hours"), most=100)


def memory(limit_bytes: int | None) -> dict[str, Any] | None:
    """Return the chart of Redis memory, with the current limit as a line; 0 and None mean no limit."""
    lines: list[Line] = [("cache.memory_bytes", _("Memory, MB"), "webhook", 1 / _MEGABYTE)]
    chart = _chart("line", lines, title=_("Memory, 48 hours"))
    if chart and limit_bytes:
        limit = [round(limit_bytes / _MEGABYTE, 2)] * len(chart["labels"])
        chart["series"].append(charts.series(_("Limit, MB"), limit, "bad", is_dashed=True))
    return chart


def _chart(
    kind: str, lines: list[Line], *, span: Span = Span.HOUR, length: timedelta = timedelta(hours=48), **options: Any
) -> dict[str, Any] | None:
    points = history([metric for metric, *_rest in lines], since=timezone.now() - length, span=span)
    first = points[lines[0][0]]
    if sum(value is not None for _at, value in first) < 2:
        return None
    label_format = charts.day_format() if span == Span.DAY else f"{charts.day_format()} H:i"
    series = []
    for metric, label, colour, factor in lines:
        values = [None if value is None else round(value * factor, 2) for _at, value in points[metric]]
        series.append(charts.series(label, values, colour))
    return charts.chart(kind, [date_format(at, label_format) for at, _value in first], *series, **options)
