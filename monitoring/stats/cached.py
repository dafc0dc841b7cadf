"""Statistics over whole tables: computed on request while the tables are small, otherwise by a periodic task."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models.expressions import RawSQL
from django.utils import timezone

from config.lib import clock
from config.postgres.base import without_standby
from employees.backfill import batches
from monitoring.stats.models import CachedStatistic
from profiles import cache
from profiles.rollout.decision import BUCKETS, current_state
from profiles.rollout.rules import STEPS

SMALL_BYTES = 2 * 1024 * 1024
# A stored statistic is due when it is older than this, and than ``rest`` times the duration of its computation.
FRESH = timedelta(seconds=10)
LOCK = 0x636F756E74  # "count"
DAYS = 30
# The steps of a phase, converted from percentages to buckets, with 0 as the first.
RUNGS = [0, *(int(step * BUCKETS / 100) for step in STEPS)]
LOOKED_UP_WITHIN = timedelta(days=7)
_SAMPLED_FROM = 100_000

COMPLETE = "coalesce(p.first_name, '') <> '' AND p.last_name IS NOT NULL"
EMPTY = "coalesce(p.first_name, '') || coalesce(p.last_name, '') || coalesce(p.user_provided_name, '') = ''"
_FULL_NAME = "(p.first_name <> '' AND p.last_name <> '') OR p.user_provided_name <> ''"
_SIZE = "(SELECT sum(pg_relation_size(name::regclass)) FROM unnest(%s::text[]) AS tables (name))"

_PROFILES = f"""
SELECT source, count(*) AS count,
    count(*) FILTER (WHERE {COMPLETE}) AS complete,
    count(*) FILTER (WHERE {EMPTY}) AS empty,
    count(*) FILTER (WHERE p.last_updated <= %(stale_at)s) AS stale,
    count(*) FILTER (WHERE p.first_name <> '' AND NOT p.is_first_name_real) AS guessed,
    avg(greatest(extract(epoch FROM %(now)s - p.last_updated), 0))::float8 AS age
FROM profile_cache p GROUP BY source
"""  # noqa: S608 (constants of this module)
# A profile counts once for each employee with its MAX ID. A profile without an employee counts as one user.
_USERS = f"""
SELECT e.university_id AS university, count(*) AS users,
    count(*) FILTER (WHERE NOT ({EMPTY})) AS named,
    count(*) FILTER (WHERE {_FULL_NAME}) AS full_named,
    count(*) FILTER (WHERE {COMPLETE}) AS complete,
    count(*) FILTER (WHERE p.last_updated <= %(stale_at)s) AS stale,
    count(*) FILTER (WHERE e.profile_source = 'default') AS unnamed
FROM employees e FULL JOIN profile_cache p ON p.user_id = e.max_id GROUP BY e.university_id
"""  # noqa: S608 (constants of this module)
_EMPLOYEES = "SELECT profile_source AS source, count(*) AS count FROM employees GROUP BY profile_source"
_SOURCES = """
SELECT e.university_id, u.name, e.profile_source, count(*)
FROM employees e JOIN universities u ON u.id = e.university_id GROUP BY 1, 2, 3
"""
_BY_DAY = """
SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), profile_source, count(*)
FROM employees WHERE created_at >= %(since)s GROUP BY 1, 2 ORDER BY 1
"""
_BY_STAGE = """
SELECT university_id, (bucket < %(p1)s)::int + (bucket < %(p2)s)::int + (bucket < %(p3)s)::int + (bucket < %(p4)s)::int,
       profile_source, count(*)
FROM (SELECT university_id, profile_source, rollout_bucket(%(salt)s, phone) AS bucket FROM employees) AS placed
GROUP BY 1, 2, 3
"""
# The number of employees, and of those without a cached profile, by university and by the rollout step at or below
# their bucket; the same two numbers for the employees created after ``since``, and how many of these have a profile for
# which phase 3 still queries the direct API, because it is stale or has only a part of the name.
_COHORTS = f"""
SELECT e.university_id, u.name, e.rung, e.n, e.missing, e.lately, e.lately_missing, e.lately_partial FROM (
    SELECT university_id, width_bucket(rollout_bucket(%(salt)s, phone), %(rungs)s::integer[]) AS rung,
           count(*) AS n, count(*) FILTER (WHERE p.user_id IS NULL) AS missing,
           count(*) FILTER (WHERE created_at > %(since)s) AS lately,
           count(*) FILTER (WHERE created_at > %(since)s AND p.user_id IS NULL) AS lately_missing,
           count(*) FILTER (
               WHERE created_at > %(since)s AND p.user_id IS NOT NULL AND coalesce(p.user_provided_name, '') = ''
               AND NOT ({COMPLETE} AND p.last_updated > %(stale_at)s)
           ) AS lately_partial
    FROM employees LEFT JOIN profile_cache p ON p.user_id = employees.max_id GROUP BY 1, 2
) e JOIN universities u ON u.id = e.university_id
"""  # noqa: S608 (constants of this module)
_AGES = """
SELECT least(greatest(floor(extract(epoch FROM now() - last_updated) / 86400), 0), 366)::int, source, count(*)
FROM profile_cache {sample} GROUP BY 1, 2
"""
_QUALITY = """
SELECT to_char(date_trunc('day', at), 'YYYY-MM-DD'), outcome, stage >= 3, served_source, count(*)
FROM comparisons WHERE at > %(since)s AND university_id IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1
"""


def statistic(name: str) -> CachedStatistic:
    """Return the statistic with this name: computed now if its tables are small, otherwise as it was stored last."""
    sized = CachedStatistic.objects.annotate(size=RawSQL(_SIZE, [list(STATISTICS[name].tables)]))  # noqa: S611 (a constant)
    last = sized.filter(name=name).first()
    if last and last.size <= SMALL_BYTES:
        last.at = timezone.now()
        last.value = STATISTICS[name].compute()
    return last or store(name)


# A page that stores a statistic must not wait for a standby that is lost.
@without_standby()
def store(name: str) -> CachedStatistic:
    """Compute a statistic and store it with the duration of the computation."""
    at, started = timezone.now(), time.perf_counter()
    value = STATISTICS[name].compute()
    fields = {"value": value, "at": at, "took_ms": (time.perf_counter() - started) * 1000}
    return CachedStatistic.objects.update_or_create(name=name, defaults=fields)[0]


def take() -> list[str]:
    """Compute and store the statistics that are due; return their names. Store Redis's health if it is reachable."""
    rows, now = CachedStatistic.objects.in_bulk(STATISTICS), timezone.now()
    due = []
    for name, (_compute, _tables, rest) in STATISTICS.items():
        row = rows.get(name)
        if row is None or clock.distance(row.at) >= max(FRESH, timedelta(milliseconds=rest * row.took_ms)):
            store(name)
            due.append(name)
    health = cache.health()
    if health["redis_connected"]:
        CachedStatistic.objects.update_or_create(name="cache", defaults={"value": health, "at": now, "took_ms": 0})
    return due


def cache_health() -> CachedStatistic | None:
    """Return the last health report of Redis that was stored while Redis was reachable; None if there is none."""
    return CachedStatistic.objects.filter(name="cache").first()


def _rows(sql: str, **params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _count(sql: str) -> list[dict[str, Any]]:
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(sql, {"now": now, "stale_at": now - settings.PROFILE_TTL})
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _to_backfill() -> list[dict[str, Any]]:
    columns = ("university", "now", "then", "count")
    return [dict(zip(columns, row, strict=True)) for row in batches.preview_names(limit=0).counts]


def _first_day() -> datetime:
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)


def _salt() -> str:
    return current_state().salts.get("phase3_cache_first", "")


def _sources_by_stage() -> list[tuple[Any, ...]]:
    percents = dict(zip(("p1", "p2", "p3", "p4"), current_state().phases, strict=True))
    return _rows(_BY_STAGE, salt=_salt(), **percents)


def cohorts(salt: str, rungs: list[int]) -> list[tuple[Any, ...]]:
    """Count the employees by university and by range of buckets; return the rows of the query _COHORTS.

    ``rungs`` are the borders between the ranges. In a row, 0 stands for the first range, 1 for the second, and so on.
    """
    now = timezone.now()
    params = {"since": now - LOOKED_UP_WITHIN, "stale_at": now - settings.PROFILE_TTL}
    return _rows(_COHORTS, salt=salt, rungs=rungs, **params)


def _cohorts_by_step() -> dict[str, Any]:
    salt = _salt()
    return {"salt": salt, "rows": cohorts(salt, RUNGS[1:-1])}


def _ages() -> dict[str, Any]:
    # The planner's estimate is sufficient for a large table; a small table is counted.
    expected = int(_rows("SELECT reltuples FROM pg_class WHERE oid = to_regclass('profile_cache')")[0][0])
    if expected < _SAMPLED_FROM:
        expected = int(_rows("SELECT count(*) FROM profile_cache")[0][0])
    share = 1.0 if expected < _SAMPLED_FROM else _SAMPLED_FROM / expected
    sample = "" if share == 1 else f"TABLESAMPLE SYSTEM ({100 * share:.4f})"
    rows = [(days, source, round(n / share)) for days, source, n in _rows(_AGES.format(sample=sample))]
    return {"rows": rows, "is_sample": share < 1}


class Computation(NamedTuple):
    compute: Callable[[], Any]
    tables: tuple[str, ...]
    # The statistics of reports are computed for at most 5% of the time (20), the statistics of pages for 1% (100).
    rest: int = 100


STATISTICS = {
    # Profiles by source; ``age`` is their mean age in seconds.
    "profiles": Computation(partial(_count, _PROFILES), ("profile_cache",), 20),
    # Users by university, which is None for MAX users who are not employees.
    "users": Computation(partial(_count, _USERS), ("profile_cache", "employees"), 20),
    "employees": Computation(partial(_count, _EMPLOYEES), ("employees",), 20),
    # Rows (university ID, university name, name source, number).
    "sources": Computation(lambda: _rows(_SOURCES), ("employees",)),
    # Rows (day, name source, number) of the employees created in the last DAYS.
    "sources_by_day": Computation(lambda: _rows(_BY_DAY, since=_first_day()), ("employees",)),
    # Rows (university ID, stage, name source, number); the stage considers only the phases' percentages.
    "stages": Computation(_sources_by_stage, ("employees",)),
    # The salt of the buckets, and the rows of cohorts(); a rung is an index in RUNGS.
    "cohort_lookups": Computation(_cohorts_by_step, ("employees", "profile_cache")),
    # Rows (age in days, source, number) of profiles, extrapolated from a sample if the table is large.
    "ages": Computation(_ages, ("profile_cache",)),
    # Rows (day, outcome, is_cache_first, source of the name, number) of the comparisons in the last DAYS.
    "comparisons_by_day": Computation(lambda: _rows(_QUALITY, since=_first_day()), ("comparisons",)),
    # Employees that a backfill would name, by university ID, present source and new source. This statistic is the last,
    # because it is the slowest: Python evaluates each row.
    "to_backfill": Computation(_to_backfill, ("profile_cache", "employees"), 20),
}
