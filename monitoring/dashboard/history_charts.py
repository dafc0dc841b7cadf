"""What the numbers were, as charts; what nobody noted is a gap, and nothing at all is no chart."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from monitoring.dashboard import charts
from monitoring.stats.directory import DAYS
from monitoring.stats.models import Span
from monitoring.stats.snapshots import Series, history
from profiles.models import ProfileSource

HOURS = 48
_LEAST = 2
_MEGABYTE = 1024 * 1024

Line = tuple[str, object, str, float]


def sources() -> dict[str, Any] | None:
    """Return the employees by source at the start of each of 30 days."""
    lines: list[Line] = [
        (f"employees.{source}", source.label, charts.SOURCE_COLOURS[source], 1) for source in ProfileSource
    ]
    return _drawn(
        "bar",
        lines,
        span=Span.DAY,
        length=timedelta(days=DAYS - 1),
        is_stacked=True,
        title=_("Employees by name source, 30 days"),
    )


def hit_rate() -> dict[str, Any] | None:
    lines: list[Line] = [("cache.hit_rate", _("Hit rate, %"), "good", 100)]
    return _drawn("line", lines, title=_("Hit rate, 48 hours"), most=100)


def memory(limit_bytes: int | None) -> dict[str, Any] | None:
    """Return the memory that Redis took, under the limit that it has now; 0 and None are no limit."""
    lines: list[Line] = [("cache.memory_bytes", _("Memory, MB"), "webhook", 1 / _MEGABYTE)]
    drawn = _drawn("line", lines, title=_("Memory, 48 hours"))
    if drawn and limit_bytes:
        limit = [round(limit_bytes / _MEGABYTE, 2)] * len(drawn["labels"])
        drawn["series"].append(charts.series(_("Limit, MB"), limit, "bad", is_dashed=True))
    return drawn


def _drawn(
    kind: str, lines: list[Line], *, span: Span = Span.HOUR, length: timedelta = timedelta(hours=HOURS), **options: Any
) -> dict[str, Any] | None:
    points = history([name for name, *_rest in lines], since=timezone.now() - length, span=span)
    first = points[lines[0][0]]
    if sum(value is not None for _at, value in first) < _LEAST:
        return None
    label = _day if span == Span.DAY else _hour
    drawn = [charts.series(title, _scaled(points[name], factor), colour) for name, title, colour, factor in lines]
    return charts.chart(kind, [label(point) for point in first], *drawn, **options)


def _scaled(points: Series, factor: float) -> list[float | None]:
    return [None if value is None else round(value * factor, 2) for _at, value in points]


def _day(point: tuple[Any, Any]) -> str:
    return charts.day_label(f"{point[0]:%Y-%m-%d}")


def _hour(point: tuple[Any, Any]) -> str:
    return date_format(point[0], f"{charts.day_format()} H:i")
