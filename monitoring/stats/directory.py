"""Statistics for pages that are too expensive to compute in a request: a task computes and stores them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from monitoring.stats.models import CachedStatistic
from profiles.rollout.decision import BUCKETS, current_state
from profiles.rollout.rules import STEPS

DAYS = 30
# The steps of a phase as buckets, from 0 to the last.
RUNGS = [0, *(int(step * BUCKETS / 100) for step in STEPS)]
LOOKED_UP_WITHIN = timedelta(days=7)
# Counting takes at most a hundredth of the time.
_REST = 100
_FRESH = timedelta(minutes=1)
# A page counts again what takes less than this many milliseconds and is older than that.
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
# The employees of a university between two steps, and those of them who were looked up lately.
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
    """Return rows (university ID, its name, source, employees)."""
    return _rows(_SOURCES)


def sources_by_day() -> list[tuple[Any, ...]]:
    """Return rows (day, source, employees created)."""
    return _rows(_BY_DAY, since=_first_day())


def sources_by_stage() -> list[tuple[Any, ...]]:
    """Return rows (stage by the percentages only, source, employees)."""
    state = current_state()
    percents = dict(zip(("p1", "p2", "p3", "p4"), state.phases, strict=True))
    return _rows(_BY_STAGE, salt=state.salts.get("phase3_cache_first", ""), **percents)


def cohorts() -> dict[str, Any]:
    """Return the salt and the rows of _COHORTS: (university ID, its name, the step below, employees, …)."""
    salt = current_state().salts.get("phase3_cache_first", "")
    since = timezone.now() - LOOKED_UP_WITHIN
    return {"salt": salt, "rows": _rows(_COHORTS, salt=salt, rungs=RUNGS[1:-1], since=since)}


def ages() -> dict[str, Any]:
    """Return rows (age in days, source, profiles), extrapolated from a sample when the table is large."""
    expected = rows_expected("profile_cache")
    share = 1.0 if expected < _SAMPLED_FROM else _SAMPLED_FROM / expected
    sample = "" if share == 1 else f"TABLESAMPLE SYSTEM ({100 * share:.4f})"
    rows = [(days, source, round(n / share)) for days, source, n in _rows(_AGES.format(sample=sample))]
    return {"rows": rows, "is_sample": share < 1}


def comparisons_by_day() -> list[tuple[Any, ...]]:
    """Return rows (day, outcome, whether the cache came first, source that answered, lookups)."""
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
    """Return stored statistics by one query; compute those that are missing, or quick to compute and outdated."""
    rows = CachedStatistic.objects.in_bulk(names)
    for name in names:
        row = rows.get(name)
        if row is None or (row.took_ms < _QUICK_MS and row.is_due(after=_QUICK_AFTER, rest=_REST)):
            rows[name] = refresh(name)
    return rows


def refresh(name: str) -> CachedStatistic:
    return CachedStatistic.store(name, FIGURES[name])


def refresh_due() -> list[str]:
    """Compute what is due; return the names."""
    return CachedStatistic.refresh_due(FIGURES, after=_FRESH, rest=_REST)


def rows_expected(table: str) -> int:
    """Return the planner's estimate of a table's rows; count a small table exactly."""
    expected = int(_rows("SELECT reltuples FROM pg_class WHERE oid = to_regclass(%(table)s)", table=table)[0][0])
    if expected >= _SAMPLED_FROM:
        return expected
    return int(_rows(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")[0][0])  # noqa: S608 (a quoted name)
