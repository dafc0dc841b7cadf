"""What the numbers were, hour by hour and day by day, for the charts; independent of Redis and of restarts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from monitoring.stats import population, reports
from monitoring.stats.models import Snapshot, Span
from monitoring.stats.rollups import LENGTHS, start_of
from profiles.models import ProfileSource

KEPT = {Span.HOUR: timedelta(days=30), Span.DAY: timedelta(days=730)}
_EMPLOYEES = tuple(f"employees.{source}" for source in ProfileSource)
# As they were at the first look within the hour or the day; the hit rate is 0 to 1.
METRICS = (*_EMPLOYEES, "cache.hit_rate", "cache.memory_bytes")

Series = list[tuple[datetime, float | None]]


def take() -> None:
    """Write the points that are due and delete those past their time; doing it twice changes nothing."""
    now = timezone.now()
    for span, age in KEPT.items():
        at = start_of(now, span)
        if not Snapshot.objects.filter(span=span, metric__in=_EMPLOYEES, at=at).exists():
            points = [Snapshot(span=span, at=at, metric=metric, value=value) for metric, value in _levels().items()]
            Snapshot.objects.bulk_create(points, ignore_conflicts=True)
        Snapshot.objects.filter(span=span, at__lt=now - age).delete()
    # Earlier releases kept more of them.
    Snapshot.objects.exclude(metric__in=METRICS).delete()


def _levels() -> dict[str, float]:
    """Return what can be known now; without Redis nothing about the cache."""
    counted = {f"employees.{row['source']}": row["count"] for row in population.employees().rows}
    levels = dict.fromkeys(_EMPLOYEES, 0) | counted
    health = reports.cache_health()
    if health["redis_connected"]:
        levels |= {"cache.hit_rate": health["cache_hit_rate"], "cache.memory_bytes": health["used_memory_bytes"]}
    return levels


def history(names: Sequence[str], *, since: datetime, span: Span = Span.HOUR) -> dict[str, Series]:
    """Return each metric's points from ``since`` to now, oldest first, one for every hour or day (UTC).

    A point that nobody took is None: a chart shows the gap. A name that is not of METRICS raises ValueError. Costs one
    query, whatever the names.
    """
    if unknown := set(names) - set(METRICS):
        raise ValueError(f"no such metrics: {', '.join(sorted(unknown))}")
    now = timezone.now()
    first = start_of(max(since, now - KEPT[span]), span)
    moments = [first + number * LENGTHS[span] for number in range((now - first) // LENGTHS[span] + 1)]
    wanted = Snapshot.objects.filter(span=span, metric__in=names, at__gte=first)
    found = {(metric, at): value for metric, at, value in wanted.values_list("metric", "at", "value")}
    return {name: [(at, found.get((name, at))) for at in moments] for name in names}
