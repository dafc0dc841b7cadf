"""Charts as plain data, which screens.js draws with the theme's chart.js."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from django.db.models.functions import Trunc
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from config.lib import times
from monitoring.indicators.models import IndicatorReading
from monitoring.stats import rollups
from monitoring.stats.cached import DAYS
from monitoring.stats.models import Span
from monitoring.stats.rollups import LENGTHS, start_of
from profiles.models import ProfileSource
from webhooks.models import State

# Names of colours by meaning: screens.js looks them up in the current theme.
SOURCE_COLOURS = {
    ProfileSource.WEBHOOK: "webhook",
    ProfileSource.USER_INPUT: "own",
    ProfileSource.API: "api",
    ProfileSource.MANUAL: "manual",
    ProfileSource.DEFAULT: "unknown",
}

_STATE_COLOURS = {
    State.PENDING: "webhook",
    State.DONE: "good",
    State.SKIPPED: "manual",
    State.QUARANTINED: "wait",
    State.DEAD: "bad",
}
# The span of a bar, and the longest chart that has such bars.
_SPANS = ((Span.MINUTE, timedelta(hours=3)), (Span.HOUR, timedelta(days=2)))
_MEGABYTE = 1024 * 1024
# A line of an indicator's history: the label, the value of a reading, and the colour.
Line = tuple[object, Callable[[IndicatorReading], float], str]


def series(label: object, values: Iterable[Any], colour: str, **options: Any) -> dict[str, Any]:
    return {"label": str(label), "data": list(values), "colour": colour, **options}


def chart(kind: str, labels: Sequence[str], *lines: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return a chart as data for screens.js.

    The option ``moments`` lists the times of the labels, so that they can be shown in the reader's time zone.
    """
    return {"kind": kind, "labels": list(labels), "series": list(lines), **options}


def last_days() -> list[str]:
    """Return the last DAYS days, today included, as ISO dates in UTC, the oldest first."""
    today = timezone.now().date()
    return [(today - timedelta(days=back)).isoformat() for back in range(DAYS - 1, -1, -1)]


def day_format() -> str:
    """Return the date format for a day and the short name of the month, which is capitalised only in English."""
    return "j M" if get_language() == "en" else "j b"


def day_label(iso: str) -> str:
    return date_format(date.fromisoformat(iso), day_format())


def new_employees(rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return the chart of new employees per day; ``rows`` are (day, name source, number of employees)."""
    days, counts = last_days(), {(day, source): number for day, source, number in rows}
    lines = [
        series(source.label, [counts.get((day, source), 0) for day in days], SOURCE_COLOURS[source])
        for source in ProfileSource
    ]
    title = _("New employees by day and name source")
    return chart("bar", [day_label(day) for day in days], *lines, is_stacked=True, unit="", title=title)


def inbox_histogram(since: datetime | None, until: datetime | None) -> dict[str, Any]:
    """Return the chart of the updates received between two times, by their current state.

    Without ``since``, the chart begins 24 hours before its end; it never covers more than 30 days. Each bar covers a
    minute if the chart spans up to three hours, an hour if it spans up to two days, otherwise a day.
    """
    until = min(until or timezone.now(), timezone.now())
    since = max(since or until - timedelta(days=1), until - timedelta(days=DAYS))
    length = max(until - since, timedelta())
    span = next((span for span, most in _SPANS if length <= most), Span.DAY)
    slots = rollups.counts_by(span, min(since, until), until)
    label_format = {Span.MINUTE: "H:i", Span.HOUR: f"{day_format()} H:i"}.get(span, day_format())
    bars = [
        series(state.label, [counts.states[state] for counts in slots.values()], _STATE_COLOURS[state])
        for state in State
    ]
    labels = [date_format(timezone.localtime(start), label_format) for start in slots]
    options = {} if span == Span.DAY else {"moments": list(map(times.iso, slots))}
    params = {"since": times.text(since, has_seconds=False), "until": times.text(until, has_seconds=False)}
    title = _("Updates by state, %(since)s to %(until)s") % params
    return chart("bar", labels, *bars, is_stacked=True, title=title, **options)


def source_history() -> dict[str, Any] | None:
    """Return the chart of employees by name source at the start of each of the last 30 days.

    Return None if fewer than two of these days have a reading.
    """

    def count(reading: IndicatorReading, source: ProfileSource) -> int:
        return int(reading.data["employees_by_source"].get(source, 0))

    lines = [(source.label, partial(count, source=source), SOURCE_COLOURS[source]) for source in ProfileSource]
    title = _("Employees by name source, last 30 days")
    length = timedelta(days=DAYS - 1)
    return _history("coverage", "bar", lines, span=Span.DAY, length=length, is_stacked=True, title=title)


def hit_rate() -> dict[str, Any] | None:
    line = (_("Hit rate, %"), lambda reading: round(100 * reading.value, 2), "good")
    return _history("cache_hit_rate", "line", [line], title=_("Hit rate, 48 hours"), most=100)


def memory(limit_bytes: int | None) -> dict[str, Any] | None:
    """Return the chart of Redis memory in the last 48 hours, with a line at ``limit_bytes`` if Redis has a limit.

    Return None if fewer than two of these hours have a reading.
    """
    line = (_("Memory, MB"), lambda reading: round(reading.value / _MEGABYTE, 2), "webhook")
    drawn = _history("cache_memory", "line", [line], title=_("Memory, 48 hours"))
    if drawn and limit_bytes:
        limit = [round(limit_bytes / _MEGABYTE, 2)] * len(drawn["labels"])
        drawn["series"].append(series(_("Limit, MB"), limit, "bad", is_dashed=True))
    return drawn


def _history(
    indicator: str,
    kind: str,
    lines: Sequence[Line],
    *,
    span: Span = Span.HOUR,
    length: timedelta = timedelta(hours=48),
    **options: Any,
) -> dict[str, Any] | None:
    """Return the chart of an indicator, with its first reading in each hour or day (UTC).

    Return None if fewer than two hours or days have a reading.
    """
    now = timezone.now()
    first, step = start_of(now - length, span), LENGTHS[span]
    rows = IndicatorReading.objects.filter(name=indicator, round_at__gte=first, value__isnull=False)
    slots = rows.annotate(slot=Trunc("round_at", span.value, tzinfo=UTC)).order_by("slot", "round_at").distinct("slot")
    readings = {row.slot: row for row in slots}
    if len(readings) < 2:
        return None
    moments = [first + number * step for number in range((now - first) // step + 1)]
    drawn = [
        series(label, [value(readings[at]) if at in readings else None for at in moments], colour)
        for label, value, colour in lines
    ]
    if span == Span.DAY:
        # Days begin and end in UTC.
        labels = [date_format(at, day_format()) for at in moments]
    else:
        labels = [f"{date_format(timezone.localtime(at), day_format())} {times.clock(at)}" for at in moments]
        options["moments"] = list(map(times.iso, moments))
    return chart(kind, labels, *drawn, **options)
