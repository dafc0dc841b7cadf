"""What the monitoring endpoints say, counted from the record (definitions: contract §3)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Q, Value
from django.utils import timezone

from employees.models import Employee
from monitoring import traffic
from monitoring.counters import counted
from profiles import cache
from profiles.models import Profile
from webhooks.models import State

PERIODS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}

_COMPLETE = Q(first_name__gt="", last_name__isnull=False)
_EMPTY = ~Q(first_name__gt="") & ~Q(last_name__gt="") & ~Q(user_provided_name__gt="")

_USERS = """
SELECT count(*), count(*) FILTER (WHERE has_name), count(*) FILTER (WHERE has_full_name) FROM (
    SELECT coalesce(p.first_name, '') <> '' OR coalesce(p.last_name, '') <> ''
               OR coalesce(p.user_provided_name, '') <> '' AS has_name,
           (coalesce(p.first_name, '') <> '' AND coalesce(p.last_name, '') <> '')
               OR coalesce(p.user_provided_name, '') <> '' AS has_full_name
    FROM employees e FULL JOIN profile_cache p ON p.user_id = e.max_id) AS users
"""


def percentage(part: float, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def coverage() -> dict[str, Any]:
    """Count the users: employees, and MAX users whom no employee is. A profile serves each employee of its id."""
    with connection.cursor() as cursor:
        cursor.execute(_USERS)
        total, with_profiles, with_full_names = cursor.fetchone()
    return {
        "total_users": total,
        "users_with_profiles": with_profiles,
        "users_with_full_names": with_full_names,
        "coverage_percentage": percentage(with_profiles, total),
        "full_name_percentage": percentage(with_full_names, total),
        "profiles_by_source": dict(Profile.objects.values_list("source").annotate(n=Count("*"))),
        "last_updated": timezone.now(),
    }


def quality() -> dict[str, Any]:
    now = timezone.now()
    by_source = {row.pop("source"): row for row in _quality_rows(now)}
    totals = {name: sum(row[name] for row in by_source.values()) for name in ("count", "complete", "empty", "stale")}
    scores = quality_scores(**totals)
    return {
        "generated_at": now,
        "total_profiles": totals["count"],
        "quality_metrics": {
            "complete_profiles": totals["complete"],
            "partial_profiles": totals["count"] - totals["complete"] - totals["empty"],
            "empty_profiles": totals["empty"],
            "stale_profiles": totals["stale"],
            **scores,
        },
        "source_breakdown": {source: _source_breakdown(row) for source, row in by_source.items()},
        "recommended_actions": _recommended_actions(totals, scores["quality_score"]),
        "data_issues": _data_issues(totals),
    }


def _quality_rows(now: datetime) -> list[dict[str, Any]]:
    return list(
        Profile.objects.values("source").annotate(
            count=Count("*"),
            complete=Count("pk", filter=_COMPLETE),
            empty=Count("pk", filter=_EMPTY),
            stale=Count("pk", filter=Q(last_updated__lte=now - settings.PROFILE_TTL)),
            average_age=Avg(ExpressionWrapper(Value(now) - F("last_updated"), DurationField())),
        )
    )


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
    counts = {name: row[name] for name in ("count", "complete", "empty", "stale")}
    return {
        "count": row["count"],
        "complete_profiles": row["complete"],
        "average_age_days": round(row["average_age"] / timedelta(days=1), 2),
        "quality_score": quality_scores(**counts)["quality_score"],
    }


def _recommended_actions(totals: dict[str, int], score: float) -> list[str]:
    if not totals["count"]:
        return ["No profiles yet: check that phase 2 is on and that the bot's webhook is subscribed."]
    actions = []
    if score < 100 * settings.PROFILE_QUALITY_ALERT_THRESHOLD:
        actions.append("The quality score is below its threshold: see the data issues.")
    if totals["stale"]:
        actions.append("Stale profiles are not served: have people write to the bot, or raise PROFILE_TTL.")
    return actions


def _data_issues(totals: dict[str, int]) -> list[dict[str, Any]]:
    count = totals["count"]
    issues = [
        ("partial_profiles", "the last name is not known", count - totals["complete"] - totals["empty"], "warning"),
        ("empty_profiles", "no name at all", totals["empty"], "critical"),
        ("stale_profiles", "older than PROFILE_TTL", totals["stale"], "warning"),
    ]
    return [
        {"type": kind, "description": description, "count": number, "severity": severity}
        for kind, description, number, severity in issues
        if number
    ]


def webhook_stats(period: str) -> dict[str, Any]:
    """Count the updates received in the window that ends now; ``period`` is a key of PERIODS."""
    until = timezone.now()
    seen = traffic.counts(until - PERIODS[period], until)
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
    }


def cache_health() -> dict[str, Any]:
    """Return what Redis says of itself and what our processes counted; ``cache_hit_rate`` is 0 to 1."""
    operations = counted("cache_operations")
    hits, misses = operations.get(("get", "hit"), 0), operations.get(("get", "miss"), 0)
    return {
        **cache.health(),
        "cache_hit_rate": round(hits / (hits + misses), 4) if hits + misses else 0.0,
        "total_operations": int(sum(operations.values())),
        "failed_operations": int(sum(count for (_, status), count in operations.items() if status == "error")),
    }


def employees_by_source() -> dict[str, int]:
    return dict(Employee.objects.values_list("profile_source").annotate(n=Count("*")))
