"""Build the reports of the monitoring endpoints (docs/reference/monitoring.md); each has the age of its numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.utils import timezone

from monitoring.stats import population, recommendations, rollups
from monitoring.stats.process_counters import counted
from profiles import cache
from profiles.models import ProfileSource
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Rollout
from profiles.rollout.phases import PHASES
from profiles.rollout.rollout_settings import RolloutSettings
from webhooks.models import State

PERIODS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
# A report stays small however many universities there are.
MOST_UNIVERSITIES = 50


def percentage(part: float, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def coverage() -> dict[str, Any]:
    """Count the users: employees, and MAX users whom no employee is. A profile serves each employee of its id."""
    users, profiles, employees = population.users(), population.profiles(), population.employees()
    seen = _sums(users.rows, "users", "named", "full_named")
    oldest = min((users, profiles, employees), key=lambda found: found.taken_at)
    return {
        "total_users": seen["users"],
        "users_with_profiles": seen["named"],
        "users_with_full_names": seen["full_named"],
        "coverage_percentage": percentage(seen["named"], seen["users"]),
        "full_name_percentage": percentage(seen["full_named"], seen["users"]),
        "profiles_by_source": {row["source"]: row["count"] for row in profiles.rows},
        "employees_by_source": {row["source"]: row["count"] for row in employees.rows},
        "last_updated": oldest.taken_at,
        "age_seconds": oldest.age_seconds,
    }


def quality() -> dict[str, Any]:
    profiles, users, nameable = population.profiles(), population.users(), population.to_backfill()
    counts = _sums(profiles.rows, *_GRADES, "guessed")
    counts["partial"] = counts["count"] - counts["complete"] - counts["empty"]
    counts |= _sums(users.rows, "unnamed")
    counts["to_backfill"] = sum(row["count"] for row in nameable.rows)
    counts["unnamed_to_backfill"] = sum(row["count"] for row in nameable.rows if row["now"] == ProfileSource.DEFAULT)
    scores = quality_scores(**{name: counts[name] for name in _GRADES})
    oldest = min((profiles, users, nameable), key=lambda found: found.taken_at)
    return {
        "generated_at": oldest.taken_at,
        "age_seconds": oldest.age_seconds,
        "total_profiles": counts["count"],
        "quality_metrics": {
            **{f"{name}_profiles": counts[name] for name in ("complete", "partial", "empty", "stale")},
            **scores,
        },
        "source_breakdown": {row["source"]: _source_breakdown(row) for row in profiles.rows},
        "university_breakdown": _university_breakdown(users.rows),
        "recommended_actions": recommendations.recommended_actions(counts, scores["quality_score"]),
        "data_issues": recommendations.data_issues(counts),
    }


_GRADES = ("count", "complete", "empty", "stale")


def _sums(rows: list[dict[str, Any]], *names: str) -> dict[str, int]:
    return {name: sum(row[name] for row in rows) for name in names}


def quality_scores(*, count: int, complete: int, empty: int, stale: int) -> dict[str, float]:
    """Return the three scores, 0 to 100: completeness, freshness and their mean weighted 7 : 3."""
    partial = count - complete - empty
    completeness = percentage(complete + 0.5 * partial, count)
    freshness = percentage(count - stale, count)
    return {
        "quality_score": round(0.7 * completeness + 0.3 * freshness, 2),
        "completeness_score": completeness,
        "freshness_score": freshness,
    }


def _source_breakdown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "count": row["count"],
        "complete_profiles": row["complete"],
        "average_age_days": round(row["age"] / 86_400, 2),
        "quality_score": quality_scores(**{name: row[name] for name in _GRADES})["quality_score"],
    }


def _university_breakdown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Describe the universities with the most employees whose name the cache does not know, those first."""
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
    """Count the updates received in the window that ends now; ``period`` is a key of PERIODS."""
    until = timezone.now()
    seen = rollups.counts(until - PERIODS[period], until)
    return {
        "period": {"from": seen.since, "to": until},
        "total_events": seen.states.total(),
        "successful_events": seen.successful,
        "failed_events": seen.failed,
        "duplicate_events": seen.repeats,
        "pending_events": seen.states[State.PENDING],
        "events_by_type": dict(seen.types),
        "profiles_extracted": seen.extracted,
        "profiles_stored": seen.stored,
        "average_processing_time_ms": round(seen.average_ms, 3),
        **{f"p{share}_processing_time_ms": round(seen.percentile(share / 100), 3) for share in (50, 95, 99)},
        "errors_by_type": dict(seen.reasons),
        "generated_at": until,
        "age_seconds": 0.0,
    }


def cache_health() -> dict[str, Any]:
    """Return what Redis says of itself and what our processes counted; ``cache_hit_rate`` is 0 to 1.

    While Redis does not answer its own numbers are the last ones known, and the report is degraded.
    """
    operations = Counter(counted("cache_operations"))
    hits, misses = operations["get", "hit"], operations["get", "miss"]
    return {
        **_redis_health(),
        "cache_hit_rate": round(hits / (hits + misses), 4) if hits + misses else 0.0,
        "total_operations": int(operations.total()),
        "failed_operations": int(sum(count for (_, status), count in operations.items() if status == "error")),
    }


_LASTING = ("used_memory_bytes", "maxmemory_bytes", "maxmemory_policy", "evicted_keys", "cached_profiles")


def _redis_health() -> dict[str, Any]:
    health, now = cache.health(), timezone.now()
    if health["redis_connected"]:
        return {**health, "degraded": False, "generated_at": now, "age_seconds": 0.0}
    last = population.cache_health()
    if last is None:
        return {**health, "degraded": True, "generated_at": now, "age_seconds": 0.0}
    known = {name: last.rows[0][name] for name in _LASTING}
    return {**health, **known, "degraded": True, "generated_at": last.taken_at, "age_seconds": last.age_seconds}


def rollout() -> dict[str, Any]:
    """Return where the rollout stands and which processes follow it."""
    current = Rollout.current()
    controls = RolloutSettings.read(current)
    return {
        "revision": current.revision,
        "percents": {name: float(controls.percents[name]) for name in PHASES},
        "switches": controls.switches,
        "is_paused": bool(controls.held_for),
        "held_for": str(controls.held_for),
        "is_stopped": controls.is_latched,
        "processes": asdict(convergence()),
        "generated_at": timezone.now(),
        "age_seconds": 0.0,
    }
