"""Store the values of a few metrics every hour and every day, for charts."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from monitoring.stats import population, reports
from monitoring.stats.models import Snapshot, Span
from monitoring.stats.rollups import LENGTHS, start_of
from profiles.models import ProfileSource

RETENTION = {Span.HOUR: timedelta(days=30), Span.DAY: timedelta(days=730)}
_EMPLOYEES = tuple(f"employees.{source}" for source in ProfileSource)
# Each value is the first one measured in the hour or day. The hit rate is from 0 to 1.
METRICS = (*_EMPLOYEES, "cache.hit_rate", "cache.memory_bytes")

Series = list[tuple[datetime, float | None]]


def take() -> None:
    """Store the points for the current hour and day unless they exist, and delete those beyond their retention."""
    now = timezone.now()
    for span, age in RETENTION.items():
        at = start_of(now, span)
        if not Snapshot.objects.filter(span=span, metric__in=_EMPLOYEES, at=at).exists():
            points = [Snapshot(span=span, at=at, metric=metric, value=value) for metric, value in _values().items()]
            Snapshot.objects.bulk_create(points, ignore_conflicts=True)
        Snapshot.objects.filter(span=span, at__lt=now - age).delete()
    # Earlier releases stored more metrics.
    Snapshot.objects.exclude(metric__in=METRICS).delete()


def _values() -> dict[str, float]:
    """Return the current values of the metrics. While Redis is not responding, the cache metrics are omitted."""
    values = dict.fromkeys(_EMPLOYEES, 0) | {
        f"employees.{row['source']}": row["count"] for row in population.employees().value
    }
    health = reports.cache_health()
    if health["redis_connected"]:
        values |= {"cache.hit_rate": health["cache_hit_rate"], "cache.memory_bytes": health["used_memory_bytes"]}
    return values


def history(names: Sequence[str], *, since: datetime, span: Span = Span.HOUR) -> dict[str, Series]:
    """Return a point per hour or day (UTC) from ``since`` to now for each of the named METRICS; None is a gap."""
    if unknown := set(names) - set(METRICS):
        raise ValueError(f"no such metrics: {', '.join(sorted(unknown))}")
    now = timezone.now()
    first = start_of(max(since, now - RETENTION[span]), span)
    moments = [first + number * LENGTHS[span] for number in range((now - first) // LENGTHS[span] + 1)]
    points = Snapshot.objects.filter(span=span, metric__in=names, at__gte=first)
    values = {(metric, at): value for metric, at, value in points.values_list("metric", "at", "value")}
    return {name: [(at, values.get((name, at))) for at in moments] for name in names}
