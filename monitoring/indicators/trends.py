"""The recent history of an indicator or a gate, as a small SVG chart with its limits as lines (trend.html)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from django.db.models import DateTimeField, F, Func, Value
from django.utils import timezone

from monitoring.indicators.models import IndicatorReading

HOURS = timedelta(hours=6)
# Rounds are 30 seconds apart, and 10 minutes after two hours: a longer gap is one without measurements.
_GAP = timedelta(minutes=15)
_MOST_POINTS = 72
_WIDTH, _HEIGHT, _MARGIN = 240.0, 48.0, 3.0
_ORIGIN = datetime(2001, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moment:
    """A measurement: its time, its value in the base unit (None if there is no data), and its sample size."""

    at: datetime
    value: float | None
    n: int | None = None


@dataclass(frozen=True, slots=True)
class Trend:
    """A chart as SVG attributes: the points of its lines, which break at gaps, and the heights of its limits.

    ``lowest`` and ``highest`` are the labels of the lower and upper edge; ``since`` is the time at the left edge.
    """

    lines: list[str]
    limits: list[str]
    lowest: str
    highest: str
    since: datetime

    @classmethod
    def of(
        cls,
        moments: Iterable[Moment],
        limits: Iterable[float | None],
        text: Callable[[float], str],
        *,
        since: datetime,
        until: datetime,
    ) -> Self | None:
        """Return the chart from ``since`` to ``until``; None if fewer than two of the moments have a value."""
        shown = [(moment.at, moment.value) for moment in moments if moment.value is not None]
        if len(shown) < 2:
            return None
        lines_at = [limit for limit in limits if limit is not None]
        values = [value for _at, value in shown] + lines_at
        lowest, highest = min(values), max(values)
        gap = max(_GAP, (until - since) / _MOST_POINTS * 2)

        def height(value: float) -> str:
            share = (value - lowest) / (highest - lowest) if highest > lowest else 0.5
            return f"{_HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN):.1f}"

        lines: list[list[str]] = []
        before = None
        for at, value in shown:
            if before is None or at - before > gap:
                lines.append([])
            lines[-1].append(f"{(at - since) / (until - since) * _WIDTH:.1f},{height(value)}")
            before = at
        return cls([" ".join(line) for line in lines], [*map(height, lines_at)], text(lowest), text(highest), since)


def moments_of(names: Sequence[str], since: datetime, until: datetime | None = None) -> dict[str, list[Moment]]:
    """Return the readings of each indicator between two times, the oldest first, at most _MOST_POINTS of each."""
    until = until or timezone.now()
    slot = Func(
        Value(max((until - since) / _MOST_POINTS, timedelta(seconds=1))), F("round_at"), Value(_ORIGIN),
        function="date_bin", output_field=DateTimeField(),
    )  # fmt: skip
    rows = IndicatorReading.objects.filter(name__in=names, round_at__gt=since, round_at__lte=until)
    # The last of each slot, so that the line ends with the value that the page shows.
    rows = rows.annotate(slot=slot).order_by("name", "slot", "-round_at").distinct("name", "slot")
    moments: dict[str, list[Moment]] = {}
    for name, _slot, at, value, n in rows.values_list("name", "slot", "round_at", "value", "n"):
        moments.setdefault(name, []).append(Moment(at, value, n))
    return moments
