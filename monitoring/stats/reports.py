"""Build the reports for the monitoring endpoints (docs/reference/monitoring.md)."""

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from django.utils import timezone

from config.lib import clock
from monitoring.stats import cached, recommendations, rollups
from monitoring.stats.process_counters import CountersError, counted
from profiles import cache
from profiles.models import ProfileSource
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Rollout
from profiles.rollout.monitored_period import ALWAYS, monitored_since
from profiles.rollout.phases import PHASES
from profiles.rollout.rollout_settings import RolloutSettings
from webhooks.delivery_watchdog import SYNTHETIC
from webhooks.models import InboxUpdate, State

PERIODS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
# Limits the size of a report.
MOST_UNIVERSITIES = 50


def percentage(part: float, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def employees_by_source(universities: Collection[int] | None = None) -> tuple[dict[str, int], datetime]:
    """Return the number of employees by name source, and when they were counted.

    With ``universities``, count only the employees of these universities.
    """
    if universities is None:
        employees = cached.statistic("employees")
        return {row["source"]: row["count"] for row in employees.value}, employees.at
    by_university, counts = cached.statistic("sources"), Counter[str]()
    for university, _name, source, number in by_university.value:
        if university in universities:
            counts[source] += number
    return dict(counts), by_university.at


def coverage(universities: Collection[int] | None = None) -> dict[str, Any]:
    """Return the coverage report. Its users are all employees, plus MAX users with a profile who are not employees.

    With ``universities``, the users are only the employees of these universities; all profiles count in any case.
    """
    users, profiles = (cached.statistic(name) for name in ("users", "profiles"))
    by_source, counted_at = employees_by_source(universities)
    counts = _sums(_rows_of(universities, users.value), "users", "named", "full_named")
    oldest = min(users.at, profiles.at, counted_at)
    return {
        "total_users": counts["users"],
        "users_with_profiles": counts["named"],
        "users_with_full_names": counts["full_named"],
        "coverage_percentage": percentage(counts["named"], counts["users"]),
        "full_name_percentage": percentage(counts["full_named"], counts["users"]),
        "profiles_by_source": {row["source"]: row["count"] for row in profiles.value},
        "employees_by_source": by_source,
        "last_updated": oldest,
        "age_seconds": round(clock.age(oldest).total_seconds(), 1),
    }


def quality(universities: Collection[int] | None = None) -> dict[str, Any]:
    """Return the quality report on all profiles and all employees; ``universities`` limits only the employees."""
    profiles, users, nameable = (cached.statistic(name) for name in ("profiles", "users", "to_backfill"))
    of_employees, to_backfill = (_rows_of(universities, statistic.value) for statistic in (users, nameable))
    counts = _sums(profiles.value, *_GRADES, "guessed")
    counts["partial"] = counts["count"] - counts["complete"] - counts["empty"]
    counts |= _sums(of_employees, "unnamed")
    counts["to_backfill"] = sum(row["count"] for row in to_backfill)
    counts["unnamed_to_backfill"] = sum(row["count"] for row in to_backfill if row["now"] == ProfileSource.DEFAULT)
    scores = quality_scores(**{name: counts[name] for name in _GRADES})
    oldest = min((profiles, users, nameable), key=attrgetter("at"))
    return {
        "generated_at": oldest.at,
        "age_seconds": oldest.age_seconds,
        "total_profiles": counts["count"],
        "quality_metrics": {
            **{f"{name}_profiles": counts[name] for name in ("complete", "partial", "empty", "stale")},
            **scores,
        },
        "source_breakdown": {
            row["source"]: {
                "count": row["count"],
                "complete_profiles": row["complete"],
                "average_age_days": round(row["age"] / 86_400, 2),
                "quality_score": quality_scores(**{name: row[name] for name in _GRADES})["quality_score"],
            }
            for row in profiles.value
        },
        "university_breakdown": _university_breakdown(of_employees),
        "recommended_actions": [*recommendations.recommended_actions(counts, scores["quality_score"])],
        "data_issues": recommendations.data_issues(counts, universities),
    }


def profile_stats(universities: Collection[int] | None = None) -> dict[str, Any]:
    """Return the coverage report with the original service's fields; ``completeness_rate`` is a share from 0 to 1."""
    report, counts = coverage(universities), _sums(cached.statistic("profiles").value, "count", "complete")
    return {
        **report,
        "total_profiles": counts["count"],
        "complete_profiles": counts["complete"],
        "completeness_rate": _share(counts["complete"], counts["count"]),
        "source_breakdown": report["profiles_by_source"],
    }


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


_GRADES = ("count", "complete", "empty", "stale")


def _rows_of(universities: Collection[int] | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of these universities; all rows for None."""
    return rows if universities is None else [row for row in rows if row["university"] in universities]


def _sums(rows: list[dict[str, Any]], *names: str) -> dict[str, int]:
    return {name: sum(row[name] for row in rows) for name in names}


def quality_scores(*, count: int, complete: int, empty: int, stale: int) -> dict[str, float]:
    """Return the scores, 0 to 100. The quality score is 70% of completeness plus 30% of freshness."""
    partial = count - complete - empty
    completeness = percentage(complete + 0.5 * partial, count)
    freshness = percentage(count - stale, count)
    return {
        "quality_score": round(0.7 * completeness + 0.3 * freshness, 2),
        "completeness_score": completeness,
        "freshness_score": freshness,
    }


def _university_breakdown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return up to MOST_UNIVERSITIES universities, sorted by employees without a cached name, most first."""
    known = [row for row in rows if row["university"] is not None]
    known.sort(key=lambda row: (row["named"] - row["users"], row["university"]))
    return [
        {
            "university_id": row["university"],
            "employees": row["users"],
            "with_profile": row["named"],
            "complete": row["complete"],
            "stale": row["stale"],
            "unnamed": row["unnamed"],
            "coverage_percentage": percentage(row["named"], row["users"]),
        }
        for row in known[:MOST_UNIVERSITIES]
    ]


def webhook_stats(period: str) -> dict[str, Any]:
    """Return the report on the updates received in the period that ends now; ``period`` is a key of PERIODS."""
    until = timezone.now()
    counts = rollups.counts(until - PERIODS[period], until)
    # Updates with a time in the future: the clock that set this time was ahead, or ours has been set back since.
    later = InboxUpdate.objects.pending().filter(received_at__gt=until)
    ahead = later.exclude(request_id__startswith=SYNTHETIC).count()
    return {
        "period": {"from": counts.since, "to": until},
        "total_events": counts.states.total() + ahead,
        "successful_events": counts.successful,
        "failed_events": counts.failed,
        "duplicate_events": counts.repeats,
        "pending_events": counts.states[State.PENDING] + ahead,
        "events_by_type": dict(counts.types),
        "profiles_extracted": counts.extracted,
        "profiles_stored": counts.stored,
        "average_processing_time_ms": round(counts.average_ms, 3),
        **{f"p{share}_processing_time_ms": round(counts.percentile(share / 100), 3) for share in (50, 95, 99)},
        "errors_by_type": dict(counts.reasons),
        "generated_at": until,
        "age_seconds": 0.0,
    }


def original_webhook_stats(period: str) -> dict[str, Any]:
    """Return the webhook report with the original service's fields; success rates are shares from 0 to 1.

    The rates count only processed updates: a pending update has neither succeeded nor failed.
    """
    report, day = webhook_stats(period), webhook_stats("day")
    return {
        **report,
        "success_rate": _success_rate(report),
        "event_types": report["events_by_type"],
        "last_24h": {"events": day["total_events"], "success_rate": _success_rate(day)},
    }


def error_rate(report: dict[str, Any]) -> float | None:
    """Return the share of failed updates among the processed ones, from 0 to 1; None if none was processed."""
    processed = report["successful_events"] + report["failed_events"]
    return report["failed_events"] / processed if processed else None


def _success_rate(report: dict[str, Any]) -> float:
    return _share(report["successful_events"], report["successful_events"] + report["failed_events"])


_LAST_KNOWN = ("used_memory_bytes", "maxmemory_bytes", "maxmemory_policy", "evicted_keys", "cached_profiles")


def cache_health() -> dict[str, Any]:
    """Return the health of Redis and the cache operations of all hosts.

    While Redis does not respond, the sizes are the last known ones, and the operations are only those of this host.
    """
    health = cache.health()
    last = None if health["redis_connected"] else cached.cache_health()
    if last:
        health = health | {name: last.value[name] for name in _LAST_KNOWN}
    operations = Counter[tuple[str, ...]]()
    with suppress(CountersError):
        operations.update(counted("cache_operations"))
    if health["redis_connected"]:
        with suppress(cache.CacheError):
            operations = Counter(cache.operation_totals())
    hits, misses = operations["get", "hit"], operations["get", "miss"]
    return {
        **health,
        "degraded": not health["redis_connected"],
        "generated_at": last.at if last else timezone.now(),
        "age_seconds": last.age_seconds if last else 0.0,
        "cache_hit_rate": _share(hits, hits + misses),
        "total_operations": int(operations.total()),
        "failed_operations": int(sum(count for (_, status), count in operations.items() if status == "error")),
    }


def rollout() -> dict[str, Any]:
    """Return the rollout settings, and which processes have applied them."""
    current = Rollout.current()
    rollout_settings = RolloutSettings.read(current)
    return {
        "revision": current.revision,
        "percents": {name: float(rollout_settings.percents[name]) for name in PHASES},
        "switches": rollout_settings.switches,
        "is_paused": bool(rollout_settings.held_for),
        "held_for": str(rollout_settings.held_for),
        "is_stopped": rollout_settings.is_latched,
        "monitored_since": None if (since := monitored_since()) == ALWAYS else since,
        "processes": asdict(convergence()),
        "generated_at": timezone.now(),
        "age_seconds": 0.0,
    }
