"""Counts of whole tables: anew for each report while the tables are small, else by a task, and the report says when.

A task leaves large tables alone for twenty times as long as the last count took, so that a count never costs more than
a twentieth of a core, and is as fresh as that allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models.expressions import RawSQL
from django.utils import timezone

from employees.backfill import batches
from monitoring.stats import cached_statistics
from monitoring.stats.models import CachedStatistic
from profiles import cache

SMALL_BYTES = 2 * 1024 * 1024
FRESH = timedelta(seconds=10)
_REST = 20

COMPLETE = "coalesce(p.first_name, '') <> '' AND p.last_name IS NOT NULL"
EMPTY = "coalesce(p.first_name, '') || coalesce(p.last_name, '') || coalesce(p.user_provided_name, '') = ''"
_FULL_NAME = "(p.first_name <> '' AND p.last_name <> '') OR p.user_provided_name <> ''"

_PROFILES = f"""
SELECT source, count(*) AS count,
    count(*) FILTER (WHERE {COMPLETE}) AS complete,
    count(*) FILTER (WHERE {EMPTY}) AS empty,
    count(*) FILTER (WHERE p.last_updated <= %(stale_at)s) AS stale,
    count(*) FILTER (WHERE p.first_name <> '' AND NOT p.is_first_name_real) AS guessed,
    avg(extract(epoch FROM %(now)s - p.last_updated))::float8 AS age
FROM profile_cache p GROUP BY source
"""  # noqa: S608 (constants of this module)
# A profile serves each employee of its id; one that no employee has is a user of its own.
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


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows of a count, and the moment they are true of."""

    rows: list[dict[str, Any]]
    taken_at: datetime

    @property
    def age_seconds(self) -> float:
        return cached_statistics.age_seconds(self.taken_at)


def profiles() -> Counted:
    """Profiles by source: count, complete, empty, stale, guessed, and their mean age in seconds."""
    return _current("profiles", "profile_cache")


def users() -> Counted:
    """Users by university, None for those who are no employees: users, named, full_named and so on."""
    return _current("users", "profile_cache", "employees")


def employees() -> Counted:
    """Employees by who named them."""
    return _current("employees", "employees")


def to_backfill() -> Counted:
    """Employees that a backfill would name, by university and source now and then; as its dry run counts them."""
    return _current("to_backfill", "profile_cache", "employees")


def cache_health() -> Counted | None:
    """What the cache last said of itself to the task that asks it; None when it never did."""
    row = CachedStatistic.objects.filter(name="cache").first()
    return Counted([row.value], row.at) if row else None


def count(name: str) -> list[dict[str, Any]]:
    """Count the whole tables now, however long it takes."""
    if name == "to_backfill":
        columns = ("university", "now", "then", "count")
        return [dict(zip(columns, row, strict=True)) for row in batches.preview()]
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENTS[name], {"now": now, "stale_at": now - settings.PROFILE_TTL})
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


_STATEMENTS = {"profiles": _PROFILES, "users": _USERS, "employees": _EMPLOYEES}
# The last one is decided row by row, and takes longest: the others do not wait for it.
_KINDS = (*_STATEMENTS, "to_backfill")
_SIZE = "(SELECT sum(pg_relation_size(name::regclass)) FROM unnest(%s::text[]) AS tables (name))"


def _current(name: str, *tables: str) -> Counted:
    sized = CachedStatistic.objects.annotate(size=RawSQL(_SIZE, [list(tables)]))  # noqa: S611 (a constant)
    last = sized.filter(name=name).first()
    if last and last.size <= SMALL_BYTES:
        now = timezone.now()
        return Counted(count(name), now)
    row = last or cached_statistics.keep(name, partial(count, name))
    return Counted(row.value, row.at)


def take() -> list[str]:
    """Count what is due; return the names of what was counted."""
    taken = CachedStatistic.objects.in_bulk(_KINDS)
    due = [name for name in _KINDS if cached_statistics.is_due(taken.get(name), after=FRESH, rest=_REST)]
    for name in due:
        cached_statistics.keep(name, partial(count, name))
    health = cache.health()
    if health["redis_connected"]:
        cached_statistics.keep("cache", lambda: health)
    return due
