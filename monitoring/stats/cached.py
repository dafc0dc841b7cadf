"""Statistics that are too expensive to compute on each request for a page, so a task computes and stores them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from monitoring.stats.models import CachedStatistic
from profiles.rollout.decision import BUCKETS, current_state
from profiles.rollout.rules import STEPS

DAYS = 30
# The steps of a phase, converted from percentages to buckets, with 0 as the first.
RUNGS = [0, *(int(step * BUCKETS / 100) for step in STEPS)]
LOOKED_UP_WITHIN = timedelta(days=7)
# A statistic is recomputed only when its age is at least this many times the duration of its last computation, so that
# computing it takes at most 1% of the time.
_REST = 100
_FRESH = timedelta(minutes=1)
# A page recomputes a statistic that takes less than _QUICK_MS to compute and is older than _QUICK_AFTER.
_QUICK_MS, _QUICK_AFTER = 20.0, timedelta(seconds=2)
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
# The number of employees, and of those without a cached profile, by university and by the rollout step at or below
# their bucket; and the same two numbers for the employees created after ``since``.
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
    """Count employees: return rows (university ID, university name, name source, number)."""
    return _rows(_SOURCES)


def sources_by_day() -> list[tuple[Any, ...]]:
    """Count the employees created in the last DAYS: return rows (day, name source, number)."""
    return _rows(_BY_DAY, since=_first_day())


def sources_by_stage() -> list[tuple[Any, ...]]:
    """Count employees: return rows (stage, name source, number). The stage considers only the phases' percentages."""
    state = current_state()
    percents = dict(zip(("p1", "p2", "p3", "p4"), state.phases, strict=True))
    return _rows(_BY_STAGE, salt=state.salts.get("phase3_cache_first", ""), **percents)


def cohorts() -> dict[str, Any]:
    """Count employees by university and step of phase 3: return the salt of the buckets, and rows.

    A row has the university ID, the university name, the index in RUNGS of the step at or below the employees' buckets,
    the number of employees, and how many have no cached profile. The last two values are the same numbers for the
    employees created within LOOKED_UP_WITHIN.
    """
    salt = current_state().salts.get("phase3_cache_first", "")
    since = timezone.now() - LOOKED_UP_WITHIN
    return {"salt": salt, "rows": _rows(_COHORTS, salt=salt, rungs=RUNGS[1:-1], since=since)}


def ages() -> dict[str, Any]:
    """Count profiles: return rows (age in days, source, number), extrapolated from a sample if the table is large."""
    expected = rows_expected("profile_cache")
    share = 1.0 if expected < _SAMPLED_FROM else _SAMPLED_FROM / expected
    sample = "" if share == 1 else f"TABLESAMPLE SYSTEM ({100 * share:.4f})"
    rows = [(days, source, round(n / share)) for days, source, n in _rows(_AGES.format(sample=sample))]
    return {"rows": rows, "is_sample": share < 1}


def comparisons_by_day() -> list[tuple[Any, ...]]:
    """Count comparisons in the last DAYS: return rows (day, outcome, is_cache_first, source of the name, number)."""
    return _rows(_QUALITY, since=_first_day())


def _first_day() -> datetime:
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)


FIGURES: dict[str, Callable[[], Any]] = {
    counting.__name__: counting
    for counting in (sources, sources_by_day, sources_by_stage, cohorts, ages, comparisons_by_day)
}


def figure(name: str) -> CachedStatistic:
    return figures(name)[name]


def figures(*names: str) -> dict[str, CachedStatistic]:
    """Return the named statistics from the database; recompute those that are missing, or outdated and quick."""
    rows = CachedStatistic.objects.in_bulk(names)
    for name in names:
        row = rows.get(name)
        if row is None or (row.took_ms < _QUICK_MS and row.is_due(after=_QUICK_AFTER, rest=_REST)):
            rows[name] = refresh(name)
    return rows


def refresh(name: str) -> CachedStatistic:
    return CachedStatistic.store(name, FIGURES[name])


def refresh_due() -> list[str]:
    """Recompute and store the statistics that are due; return their names."""
    return CachedStatistic.refresh_due(FIGURES, after=_FRESH, rest=_REST)


def rows_expected(table: str) -> int:
    """Return the number of rows in a table: exact for a small table, otherwise the planner's estimate."""
    expected = int(_rows("SELECT reltuples FROM pg_class WHERE oid = to_regclass(%(table)s)", table=table)[0][0])
    if expected >= _SAMPLED_FROM:
        return expected
    return int(_rows(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")[0][0])  # noqa: S608 (a quoted name)
