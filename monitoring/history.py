"""What the numbers were, hour by hour and day by day, for the charts; independent of Redis and of restarts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils import timezone

from monitoring.models import Snapshot, Span
from profiles.models import ProfileSource
from profiles.rollout.models import PHASES

STEPS = {Span.HOUR: timedelta(hours=1), Span.DAY: timedelta(days=1)}
KEPT = {Span.HOUR: timedelta(days=30), Span.DAY: timedelta(days=730)}

SOURCES = (
    *(f"profiles.{source}" for source in (ProfileSource.WEBHOOK, ProfileSource.USER_INPUT)),
    *(f"employees.{source}" for source in ProfileSource),
)
# Levels, as they were at the first look within the hour or the day; percentages are 0 to 100, the hit rate 0 to 1.
LEVELS = (
    "users.total",
    "coverage.percent",
    "coverage.full_name_percent",
    "profiles.total",
    "profiles.stale",
    "quality.score",
    "quality.completeness",
    "quality.freshness",
    *SOURCES,
    "cache.hit_rate",
    "cache.memory_bytes",
    "cache.evicted",
    "cache.profiles",
    "inbox.pending",
    "inbox.lag_seconds",
    *(f"rollout.{phase}" for phase in PHASES),
)
# Sums over the whole hour or day that starts at the moment; known once it is over.
FLOWS = (
    "webhook.events",
    "webhook.failed",
    "webhook.duplicates",
    "webhook.stored",
    "webhook.error_percent",
    "webhook.p95_ms",
)
METRICS = LEVELS + FLOWS

Series = list[tuple[datetime, float | None]]


def history(names: Iterable[str], *, since: datetime, step: str = Span.HOUR) -> dict[str, Series]:
    """Return each metric's points from ``since`` to now, oldest first, one for every ``hour`` or ``day`` (UTC).

    A point that nobody took is None: a chart shows the gap. Every name of METRICS that is asked for is in the answer;
    another one raises ValueError. Costs one query, whatever the names.
    """
    wanted = list(names)
    if unknown := set(wanted) - set(METRICS):
        raise ValueError(f"no such metrics: {', '.join(sorted(unknown))}")
    span = Span(step)
    moments = _moments(since, span)
    found = {
        (metric, at): value
        for metric, at, value in Snapshot.objects.filter(
            span=span, metric__in=wanted, at__gte=start_of(since, span)
        ).values_list("metric", "at", "value")
    }
    return {name: [(at, found.get((name, at))) for at in moments] for name in wanted}


def start_of(at: datetime, span: str) -> datetime:
    at = at.astimezone(timezone.get_fixed_timezone(0)).replace(minute=0, second=0, microsecond=0)
    if span == Span.HOUR:
        return at
    if span == Span.SIX_HOURS:
        return at.replace(hour=at.hour - at.hour % 6)
    return at.replace(hour=0) - timedelta(days=at.weekday() if span == Span.WEEK else 0)


def _moments(since: datetime, span: Span) -> list[datetime]:
    now = timezone.now()
    first = start_of(max(since, now - KEPT[span]), span)
    return [first + number * STEPS[span] for number in range((now - first) // STEPS[span] + 1)]
