"""Takes the points of the history: levels at the first look in an hour or a day, flows when it is over.

Doing it twice changes nothing. Where no worker ran there are no levels, and the chart has a gap; flows are made up for
from the counts of the webhook.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.utils import timezone

from monitoring import reports, traffic
from monitoring.history import KEPT, SOURCES, STEPS, start_of
from monitoring.models import Snapshot, Span
from profiles.rollout.decision import current_state
from profiles.rollout.models import PHASES
from webhooks.models import InboxUpdate

# What came in may still be worked on, or replayed, for a while.
_UNSETTLED = {Span.HOUR: timedelta(hours=6), Span.DAY: timedelta(days=2)}
_MADE_UP_FOR = {Span.HOUR: timedelta(days=2), Span.DAY: timedelta(days=14)}
# Tells whether the points of a moment were taken.
_LEVEL, _FLOW = "inbox.pending", "webhook.events"


def take() -> None:
    """Write the points that are due at this moment, and forget those that are past their time."""
    now = timezone.now()
    for span in STEPS:
        at = start_of(now, span)
        if not Snapshot.objects.filter(span=span, metric=_LEVEL, at=at).exists():
            _write(span, at, levels())
        for moment in _due(span, at):
            _write(span, moment, flows(moment, moment + STEPS[span]))
        Snapshot.objects.filter(span=span, at__lt=now - KEPT[span]).delete()


def _due(span: Span, current: datetime) -> Iterator[datetime]:
    first = current - _MADE_UP_FOR[span]
    taken = set(Snapshot.objects.filter(span=span, metric=_FLOW, at__gte=first).values_list("at", flat=True))
    moment = first
    while moment < current:
        if moment not in taken or moment >= current - _UNSETTLED[span]:
            yield moment
        moment += STEPS[span]


def _write(span: Span, at: datetime, values: dict[str, float]) -> None:
    Snapshot.objects.bulk_create(
        [Snapshot(span=span, at=at, metric=metric, value=value) for metric, value in values.items()],
        update_conflicts=True,
        unique_fields=["span", "metric", "at"],
        update_fields=["value"],
    )


def levels() -> dict[str, float]:
    """Return what can be known now; without Redis nothing about the cache."""
    covered, judged, backlog = reports.coverage(), reports.quality(), InboxUpdate.objects.backlog()
    metrics = judged["quality_metrics"]
    percents = current_state().percents
    return {
        "users.total": covered["total_users"],
        "coverage.percent": covered["coverage_percentage"],
        "coverage.full_name_percent": covered["full_name_percentage"],
        "profiles.total": judged["total_profiles"],
        "profiles.stale": metrics["stale_profiles"],
        **{f"quality.{name}": metrics[f"{name}_score"] for name in ("completeness", "freshness")},
        "quality.score": metrics["quality_score"],
        **dict.fromkeys(SOURCES, 0),
        **{f"profiles.{source}": count for source, count in covered["profiles_by_source"].items()},
        **{f"employees.{source}": count for source, count in covered["employees_by_source"].items()},
        "inbox.pending": backlog.size,
        "inbox.lag_seconds": backlog.age.total_seconds(),
        **{f"rollout.{phase}": percents.get(phase, 0) / 100 for phase in PHASES},
        **_cache_levels(),
    }


def _cache_levels() -> dict[str, float]:
    health = reports.cache_health()
    if not health["redis_connected"]:
        return {}
    return {
        "cache.hit_rate": health["cache_hit_rate"],
        "cache.memory_bytes": health["used_memory_bytes"],
        "cache.evicted": health["evicted_keys"],
        "cache.profiles": health["cached_profiles"],
    }


def flows(since: datetime, until: datetime) -> dict[str, float]:
    """Return what came from ``since`` until just before ``until``, two full minutes."""
    tick = timedelta(microseconds=1)
    seen = traffic.counts(since - tick, until - tick)
    return {
        "webhook.events": seen.states.total(),
        "webhook.failed": seen.failed,
        "webhook.duplicates": seen.repeats,
        "webhook.stored": seen.stored,
        "webhook.error_percent": reports.percentage(seen.failed, seen.failed + seen.successful),
        "webhook.p95_ms": round(seen.percentile(0.95), 3),
    }
