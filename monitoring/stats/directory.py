"""Figures that a screen shows and no request may count: over whole tables, worked out beside them and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from monitoring.stats import cached_statistics
from monitoring.stats.models import CachedStatistic
from profiles.rollout.decision import BUCKETS, current_state
from profiles.rollout.rules import STEPS

DAYS = 30
# The ladder as buckets, with both its ends.
RUNGS = [0, *(int(step * BUCKETS / 100) for step in STEPS)]
LOOKED_UP_WITHIN = timedelta(days=7)
# At most a hundredth of the time goes into counting.
_REST = 100
_FRESH = timedelta(minutes=1)
# What is counted faster than this is counted anew for whoever looks, if it is older than that.
_QUICK_MS, _GLANCE = 20.0, timedelta(seconds=2)
_SAMPLED_FROM = 100_000

_SOURCES = """
SELECT e.university_id, u.name, e.profile_source, count(*)
FROM employees e JOIN universities u ON u.id = e.university_id GROUP BY 1, 2, 3
"""
_BY_DAY = """
SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), profile_source, count(*)
FROM employees WHERE created_at >= %(since)s GROUP BY 1, 2 ORDER BY 1
"""
_BY_STAGE = """
SELECT (bucket < %(p1)s)::int + (bucket < %(p2)s)::int + (bucket < %(p3)s)::int + (bucket < %(p4)s)::int,
       profile_source, count(*)
FROM (SELECT profile_source, rollout_bucket(%(salt)s, phone) AS bucket FROM employees) AS placed GROUP BY 1, 2
"""
# How many of a university are between two rungs of the ladder, and how many of them were looked up lately.
_COHORTS = """
SELECT e.university_id, u.name, e.rung, e.n, e.missing, e.lately, e.lately_missing FROM (
    SELECT university_id, width_bucket(rollout_bucket(%(salt)s, phone), %(rungs)s::integer[]) AS rung,
           count(*) AS n, count(*) FILTER (WHERE p.user_id IS NULL) AS missing,
           count(*) FILTER (WHERE created_at > %(since)s) AS lately,
           count(*) FILTER (WHERE created_at > %(since)s AND p.user_id IS NULL) AS lately_missing
    FROM employees LEFT JOIN profile_cache p ON p.user_id = employees.max_id GROUP BY 1, 2
) e JOIN universities u ON u.id = e.university_id
"""
_AGES = """
SELECT least(greatest(floor(extract(epoch FROM now() - last_updated) / 86400), 0), 366)::int, source, count(*)
FROM profile_cache {sample} GROUP BY 1, 2
"""
_QUALITY = """
SELECT to_char(date_trunc('day', at), 'YYYY-MM-DD'), outcome, stage >= 3, served_source, count(*)
FROM comparisons WHERE at > %(since)s GROUP BY 1, 2, 3, 4 ORDER BY 1
"""


def _rows(sql: str, **params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def sources() -> list[tuple[Any, ...]]:
    """Return (university id, its name, source, employees)."""
    return _rows(_SOURCES)


def sources_by_day() -> list[tuple[Any, ...]]:
    """Return (day, source, employees created)."""
    return _rows(_BY_DAY, since=_first_day())


def sources_by_stage() -> list[tuple[Any, ...]]:
    """Return (stage by percentages alone, source, employees)."""
    state = current_state()
    percents = dict(zip(("p1", "p2", "p3", "p4"), state.phases, strict=True))
    return _rows(_BY_STAGE, salt=state.salts.get("phase3_cache_first", ""), **percents)


def cohorts() -> dict[str, Any]:
    """Return the salt, and (university id, its name, rung below, employees, …) as _COHORTS lists them."""
    salt = current_state().salts.get("phase3_cache_first", "")
    since = timezone.now() - LOOKED_UP_WITHIN
    return {"salt": salt, "rows": _rows(_COHORTS, salt=salt, rungs=RUNGS[1:-1], since=since)}


def ages() -> dict[str, Any]:
    """Return profiles by age in whole days, as (days, source, profiles), from a sample where there are many."""
    expected = rows_expected("profile_cache")
    share = 1.0 if expected < _SAMPLED_FROM else _SAMPLED_FROM / expected
    sample = "" if share == 1 else f"TABLESAMPLE SYSTEM ({100 * share:.4f})"
    rows = [(days, source, round(n / share)) for days, source, n in _rows(_AGES.format(sample=sample))]
    return {"rows": rows, "is_sample": share < 1}


def comparisons_by_day() -> list[tuple[Any, ...]]:
    """Return (day, outcome, whether the cache was asked first, who answered, lookups)."""
    return _rows(_QUALITY, since=_first_day())


def _first_day() -> datetime:
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)


FIGURES: dict[str, Callable[[], Any]] = {
    counting.__name__: counting
    for counting in (sources, sources_by_day, sources_by_stage, cohorts, ages, comparisons_by_day)
}


@dataclass(frozen=True, slots=True)
class Figure:
    value: Any
    at: datetime


def figure(name: str) -> Figure:
    return figures(name)[name]


def figures(*names: str) -> dict[str, Figure]:
    """Return what is kept, by one query; only what is missing, or quick and old, is counted now."""
    rows = CachedStatistic.objects.in_bulk(names)
    return {name: refresh(name) if _is_counted_now(rows.get(name)) else _figure(rows[name]) for name in names}


def _is_counted_now(row: CachedStatistic | None) -> bool:
    return row is None or (row.took_ms < _QUICK_MS and cached_statistics.is_due(row, after=_GLANCE, rest=_REST))


def _figure(row: CachedStatistic) -> Figure:
    return Figure(row.value, row.at)


def refresh(name: str) -> Figure:
    return _figure(cached_statistics.keep(name, FIGURES[name]))


def refresh_due() -> list[str]:
    """Count what is due; return the names of what was counted."""
    rows = CachedStatistic.objects.in_bulk(FIGURES)
    due = [name for name in FIGURES if cached_statistics.is_due(rows.get(name), after=_FRESH, rest=_REST)]
    for name in due:
        refresh(name)
    return due


def rows_expected(table: str) -> int:
    """Return how many rows the planner takes a table to have; a small one is counted."""
    expected = int(_rows("SELECT reltuples FROM pg_class WHERE oid = to_regclass(%(table)s)", table=table)[0][0])
    if expected >= _SAMPLED_FROM:
        return expected
    return int(_rows(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")[0][0])  # noqa: S608 (a quoted name)
