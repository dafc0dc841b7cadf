"""Count profiles, users and employees: for each report while the tables are small, otherwise in a periodic task."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models.expressions import RawSQL
from django.utils import timezone

from employees.backfill import batches
from monitoring.stats.models import CachedStatistic
from profiles import cache

SMALL_BYTES = 2 * 1024 * 1024
FRESH = timedelta(seconds=10)
# A count is repeated only when its age is at least this many times its duration, so that counting takes at most 5% of
# the time.
_REST = 20
LOCK = 0x636F756E74  # "count"

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


def profiles() -> CachedStatistic:
    """Return profile counts by source (``count``, ``complete`` and so on), and their mean ``age`` in seconds."""
    return _current("profiles", "profile_cache")


def users() -> CachedStatistic:
    """Return user counts (``users``, ``named`` and so on) by university; None is that of users who are no employees."""
    return _current("users", "profile_cache", "employees")


def employees() -> CachedStatistic:
    """Return the number of employees by the source of their name."""
    return _current("employees", "employees")


def to_backfill() -> CachedStatistic:
    """Return the number of employees that a backfill would name, by university and by source before and after."""
    return _current("to_backfill", "profile_cache", "employees")


def cache_health() -> CachedStatistic | None:
    """Return the last health report that the task stored while Redis was reachable, or None."""
    return CachedStatistic.objects.filter(name="cache").first()


def count(name: str) -> list[dict[str, Any]]:
    """Compute the named count now and return its rows. This may be slow, because it reads every row of the tables."""
    if name == "to_backfill":
        columns = ("university", "now", "then", "count")
        return [dict(zip(columns, row, strict=True)) for row in batches.preview()]
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENTS[name], {"now": now, "stale_at": now - settings.PROFILE_TTL})
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


_STATEMENTS = {"profiles": _PROFILES, "users": _USERS, "employees": _EMPLOYEES}
# to_backfill comes last, so that the others do not wait for it: it is the slowest, because Python evaluates each row.
_COUNTS: dict[str, Callable[[], Any]] = {name: partial(count, name) for name in (*_STATEMENTS, "to_backfill")}
_SIZE = "(SELECT sum(pg_relation_size(name::regclass)) FROM unnest(%s::text[]) AS tables (name))"


def _current(name: str, *tables: str) -> CachedStatistic:
    sized = CachedStatistic.objects.annotate(size=RawSQL(_SIZE, [list(tables)]))  # noqa: S611 (a constant)
    last = sized.filter(name=name).first()
    if last and last.size <= SMALL_BYTES:
        last.at = timezone.now()
        last.value = count(name)
    return last or CachedStatistic.store(name, _COUNTS[name])


def take() -> list[str]:
    """Update the counts that are due and, if Redis is reachable, its health report; return the names of the counts."""
    due = CachedStatistic.refresh_due(_COUNTS, after=FRESH, rest=_REST)
    health = cache.health()
    if health["redis_connected"]:
        CachedStatistic.store("cache", lambda: health)
    return due
