"""What each indicator measures: every quantity by one function, from the counts of the reports and the comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone, translation
from django.utils.translation import gettext_noop

from config.lib.messages import Message, listed
from employees.assessment import unapplied
from employees.models import BackfillRun
from employees.models.backfill import BatchStatus
from monitoring.indicators.models import IndicatorReading, RoundTrip
from monitoring.stats import comparison_stats, reports
from monitoring.stats.comparison_stats import UNIVERSITY_SAMPLE, ComparisonStats
from monitoring.stats.process_counters import counted
from profiles import cache, failures
from profiles.rollout.decision import is_processing
from profiles.rollout.models import Rollout
from profiles.rollout.rollout_settings import RolloutSettings
from webhooks import delivery_watchdog, subscription
from webhooks.models import Backlog, InboxUpdate, State

TRIP_FRESH = timedelta(minutes=10)
LAG_WINDOW = timedelta(minutes=10)
# With fewer updates in the hour than prove five percent, the day is judged.
FEW_UPDATES = 20
DEAD_FOR = timedelta(days=1)
EVICTED_WITHIN = timedelta(days=1)
REFUSED_WITHIN = timedelta(hours=1)
SECRET_FAILURES = 10
UNIVERSITIES_NAMED = 3
REDIS_FIELDS = (
    "redis_connected", "last_error", "used_memory_bytes", "maxmemory_bytes", "maxmemory_policy", "evicted_keys",
    "cached_profiles", "latency_ms", "breaker",
)  # fmt: skip
_NIGHT = gettext_noop("no updates for %(minutes)d min of working time; it is judged again in working hours")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a measurement found; ``value`` is None where there is nothing to measure.

    ``words`` fill in the indicator's texts. ``message`` replaces its text of a broken limit, or the one of too little
    data. ``data`` has the fields that alerts document and pages show. ``critical_limit`` replaces the indicator's own.
    A limit that is broken while ``is_judged`` is False counts as too little data.
    """

    value: float | None
    n: int | None = None
    words: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    message: Message | None = None
    critical_limit: float | None = None
    is_judged: bool = True


class Sources:
    """What several measurements of one round share; each is counted once, when the first of them needs it."""

    @cached_property
    def cache(self) -> dict[str, Any]:
        return reports.cache_health()

    @cached_property
    def connected_cache(self) -> dict[str, Any]:
        if not self.cache["redis_connected"]:
            raise cache.CacheError(self.cache["last_error"])
        return self.cache

    @cached_property
    def last_hour(self) -> dict[str, Any]:
        return reports.webhook_stats("hour")

    @cached_property
    def backlog(self) -> Backlog:
        return InboxUpdate.objects.backlog()

    @cached_property
    def quality(self) -> dict[str, Any]:
        return reports.quality()

    @cached_property
    def coverage(self) -> dict[str, Any]:
        return reports.coverage()

    @cached_property
    def by_university(self) -> dict[int | None, ComparisonStats]:
        return comparison_stats.by_university(comparison_stats.recent())

    @cached_property
    def compared(self) -> ComparisonStats:
        counts: Counter[str] = Counter()
        for stats in self.by_university.values():
            counts.update(stats.counts)
        return ComparisonStats(dict(counts))

    @cached_property
    def subscription(self) -> list[subscription.Problem]:
        return subscription.subscription_problems()


# The installation


def migrations_missing(sources: Sources) -> Measured:
    missing = len(unapplied())
    return Measured(missing, words={"n": missing})


def source_index_valid(sources: Sources) -> Measured:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid = to_regclass('idx_employees_profile_source')"
        )
        return Measured(float(bool(cursor.fetchone()[0])))


# The inbox


def round_trip(sources: Sources) -> Measured:
    trip = RoundTrip.objects.filter(at__gt=timezone.now() - TRIP_FRESH).first()
    if trip is None:
        return Measured(None)
    if trip.error:
        return Measured(0, message=Message("the synthetic update failed: %(error)s", {"error": Message(trip.error)}))
    return Measured(1, words={"took": trip.took_ms or 0.0}, data={"took_ms": trip.took_ms})


def inbox_lag(sources: Sources) -> Measured:
    """Return for how long updates wait: the p95 of the last minutes, or the oldest that still waits where it is worse.

    A replayed update waits since it was put back, as for InboxQuerySet.backlog().
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM coalesce(finished_at,"
            " %(now)s) - CASE tries WHEN 0 THEN next_try_at ELSE received_at END)) FROM webhook_inbox"
            " WHERE received_at > %(since)s",
            {"now": timezone.now(), "since": timezone.now() - LAG_WINDOW},
        )
        seen, p95 = cursor.fetchone()
    backlog, limit = sources.backlog, settings.INBOX_LAG_ALERT.total_seconds()
    if not seen and not backlog.size:
        return Measured(None, 0, data={"oldest_seconds": 0.0})
    oldest = backlog.age.total_seconds()
    lag = max(float(p95 or 0), oldest, 0.0)
    data = {
        "lag_seconds": round(lag),
        "threshold_seconds": limit,
        "pending_events": backlog.size,
        "processing_enabled": is_processing(),
        "oldest_seconds": oldest,
    }
    return Measured(lag, max(seen, backlog.size), data=data)


def webhook_error_rate(sources: Sources) -> Measured:
    stats, period = sources.last_hour, "hour"
    if stats["failed_events"] + stats["successful_events"] < FEW_UPDATES:
        stats, period = reports.webhook_stats("day"), "day"
    failed, finished = stats["failed_events"], stats["failed_events"] + stats["successful_events"]
    data = {"failed_events": failed, "total_events": finished, "period": period}
    return Measured(failed / finished if finished else None, finished, data=data)


def seconds_since_update(sources: Sources) -> Measured:
    """Return for how much working time nothing real arrived; nights and weekends neither count nor are judged."""
    since, now = delivery_watchdog.last_arrival(), timezone.now()
    if since is None:
        return Measured(None)
    silent, is_judged = delivery_watchdog.working_time(since, now), delivery_watchdog.is_working_time(now)
    minutes = int(silent / timedelta(minutes=1))
    hours, limit = (round(length / timedelta(hours=1), 1) for length in (silent, settings.WEBHOOK_SILENCE_AFTER))
    return Measured(
        silent.total_seconds(),
        words={"minutes": minutes},
        data={"silent_hours": hours, "threshold_hours": limit},
        message=None if is_judged else Message(_NIGHT, {"minutes": minutes}),
        is_judged=is_judged,
    )


def dead_letters(sources: Sources) -> Measured:
    dead = InboxUpdate.objects.filter(state=State.DEAD)
    count = dead.filter(finished_at__gt=timezone.now() - DEAD_FOR).count()
    return Measured(count, data={"dead_letters": count, "total_dead_letters": dead.count()})


def secret_failures(sources: Sources) -> Measured:
    count, data = _growth("secret_failures", counted("webhook_refusals").get(("401",), 0), REFUSED_WITHIN)
    accepted = sources.last_hour["total_events"]
    data |= {"failed_requests": round(count or 0), "threshold": SECRET_FAILURES, "accepted_events": accepted}
    # More wrong secrets than right ones: it is MAX that has the wrong one, and it unsubscribes the bot after 8 h.
    return Measured(count or 0, data=data, critical_limit=accepted)


# Redis


def redis_connected(sources: Sources) -> Measured:
    health = {name: sources.cache[name] for name in REDIS_FIELDS}
    error = failures.message_for(health["last_error"] or "")
    data = health | {"error": health["last_error"]}
    return Measured(float(health["redis_connected"]), words={"error": error}, data=data)


def evictions(sources: Sources) -> Measured:
    """Return the share of the cached profiles that Redis evicted in a day."""
    health = sources.connected_cache
    evicted, data = _growth("evictions", health["evicted_keys"] or 0, EVICTED_WITHIN)
    if evicted is None:
        return Measured(None if health["evicted_keys"] else 0, data=data)
    return Measured(evicted / max(health["cached_profiles"] or 0, 1), data=data | {"evicted_keys": round(evicted)})


def cache_hit_rate(sources: Sources) -> Measured:
    data = {name: sources.cache[name] for name in ("total_operations", "failed_operations")}
    return Measured(sources.cache["cache_hit_rate"], data["total_operations"], data=data)


def _growth(name: str, counter: float, window: timedelta) -> tuple[float | None, dict[str, Any]]:
    """Return by how much a counter grew within the window, and what the reading has to remember of it.

    None where no round measured it before. A counter that is lower than before was reset, and counts from zero. The sum
    of all growth stays in the readings, so that one that is pruned takes no growth with it.
    """
    rows = IndicatorReading.objects.filter(name=name, data__has_key="grown").order_by("round_at")
    last = rows.last()
    if last is None:
        return None, {"counter": counter, "grown": 0}
    difference = counter - last.data["counter"]
    grown = last.data["grown"] + (difference if difference >= 0 else counter)
    first = rows.filter(round_at__gt=timezone.now() - window).first() or last
    return grown - first.data["grown"], {"counter": counter, "grown": grown}


# The profiles


def score(sources: Sources, name: str, **data: Any) -> Measured:
    report = sources.quality
    return Measured(report["quality_metrics"][f"{name}_score"] / 100, report["total_profiles"], data=data)


def profile_quality(sources: Sources) -> Measured:
    report = sources.quality
    counts = {name: count for name, count in report["quality_metrics"].items() if name.endswith("_profiles")}
    by_source = {source: row["count"] for source, row in report["source_breakdown"].items()}
    return score(sources, "quality", total_profiles=report["total_profiles"], by_source=by_source, **counts)


def coverage(sources: Sources) -> Measured:
    names = ("total_users", "users_with_profiles", "employees_by_source")
    data = {name: sources.coverage[name] for name in names}
    return Measured(sources.coverage["coverage_percentage"] / 100, data["total_users"], data=data)


def full_names(sources: Sources) -> Measured:
    return Measured(sources.coverage["full_name_percentage"] / 100, sources.coverage["total_users"])


# The comparisons of the last days


def agreement(sources: Sources) -> Measured:
    """Return the lower bound of the share of names that agree."""
    return Measured(sources.compared.agreement_bounds[0], sources.compared.n)


def conflicts(sources: Sources) -> Measured:
    """Return the upper bound of the share of conflicts."""
    return Measured(sources.compared.conflict_bounds[1], sources.compared.n)


def universities_standing_out(sources: Sources) -> Measured:
    """Count the universities whose own comparisons prove that their names are worse."""
    bad = [
        Message("university %(id)d: %(why)s", {"id": university, "why": seen.reason_against()})
        for university, seen in sources.by_university.items()
        if university is not None and seen.n >= UNIVERSITY_SAMPLE and seen.speaks_against()
    ]
    return Measured(len(bad), message=listed(bad[:UNIVERSITIES_NAMED]) if bad else None)


def reason_against(sources: Sources) -> Measured:
    """Return 1 where the comparisons prove the names bad; not what is not yet proven good."""
    seen = sources.compared
    is_bad = seen.n >= UNIVERSITY_SAMPLE and seen.speaks_against()
    return Measured(float(is_bad), seen.n, message=seen.reason_against() if is_bad else None)


# The subscription at MAX, the rollout and the backfill


def subscription_lost(sources: Sources) -> Measured:
    return _subscription(one for one in sources.subscription if one.event == "subscription_lost")


def subscription_wrong(sources: Sources) -> Measured:
    return _subscription(one for one in sources.subscription if one.event != "subscription_lost")


def _subscription(found: Iterable[subscription.Problem]) -> Measured:
    findings = list(found)
    message = listed(result.sentence for result in findings) if findings else None
    return Measured(len(findings), data={"findings": [result.message for result in findings]}, message=message)


def rollout_held(sources: Sources) -> Measured:
    held = RolloutSettings.read(Rollout.current()).held_for
    if not held:
        return Measured(0)
    message = held if isinstance(held, Message) else Message(held.replace("%", "%%"))
    # Like the message, for other systems.
    with translation.override("en"):
        return Measured(1, message=message, data={"reason": str(held)})


def backfill_failed_batches(sources: Sources) -> Measured:
    run = BackfillRun.objects.first()
    failed = run.batches.filter(status=BatchStatus.FAILED).count() if run else 0
    data = {"run": run.pk, "failed_batches": failed, "run_status": run.status} if run else {}
    return Measured(failed, data=data)
