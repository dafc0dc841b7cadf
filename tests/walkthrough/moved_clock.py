"""Moves the clocks of Python and of PostgreSQL together; Valkey's stays, so that nothing expires there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import time_machine
from django.db import connection, transaction
from django.utils import timezone

from profiles.rollout.models import Heartbeat

# Found before PostgreSQL's own, by statements and by functions in PL/pgSQL. CURRENT_TIMESTAMP and the like, which are
# not functions, would not be: the product does not use them.
_CLOCK = """
CREATE SCHEMA moved_clock;
CREATE TABLE moved_clock.ahead (seconds float8 NOT NULL);
INSERT INTO moved_clock.ahead VALUES (0);
CREATE FUNCTION moved_clock.moved(timestamptz) RETURNS timestamptz LANGUAGE sql STABLE
    RETURN $1 + (SELECT make_interval(secs => seconds) FROM moved_clock.ahead);
CREATE FUNCTION moved_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    RETURN moved_clock.moved(pg_catalog.clock_timestamp());
CREATE FUNCTION moved_clock.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN moved_clock.moved(pg_catalog.statement_timestamp());
CREATE FUNCTION moved_clock.transaction_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN moved_clock.moved(pg_catalog.transaction_timestamp());
CREATE FUNCTION moved_clock.now() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN moved_clock.moved(pg_catalog.now());
"""
# Views with times that are compared with the clock: a transaction is as old as it is, although the clock has moved.
_VIEWS = """
SELECT format('CREATE VIEW moved_clock.%%I AS SELECT %%s FROM pg_catalog.%%I', relname, string_agg(
    format(CASE atttypid WHEN 'timestamptz'::regtype THEN 'moved_clock.moved(%%I) AS %%1$I' ELSE '%%I' END, attname),
    ', ' ORDER BY attnum
), relname)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = 'pg_catalog'::regnamespace AND relname = ANY(%s) AND attnum > 0
GROUP BY relname
"""
# A column's default is resolved when it is set, so each is set once more.
_DEFAULTS = r"""
SELECT format('ALTER TABLE %s ALTER %I SET DEFAULT %s', adrelid::regclass, attname, pg_get_expr(adbin, adrelid))
FROM pg_attrdef
JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
JOIN pg_class ON pg_class.oid = adrelid
WHERE relnamespace = 'public'::regnamespace AND pg_get_expr(adbin, adrelid) ~ '\m(now|\w+_timestamp)\(\)'
ORDER BY 1
"""
_FOLLOW = "UPDATE moved_clock.ahead SET seconds = extract(epoch FROM %s - pg_catalog.clock_timestamp())"


class MovedClock:
    def __init__(self, python: time_machine.Traveller) -> None:
        self._python = python
        self._follow()

    def shift(self, length: timedelta) -> None:
        """Set both clocks forward; living processes have reported all the while."""
        self._python.shift(length)
        with transaction.atomic():
            self._follow()
            Heartbeat.objects.update(seen_at=timezone.now())

    @staticmethod
    def _follow() -> None:
        with connection.cursor() as cursor:
            cursor.execute(_FOLLOW, [timezone.now()])


@contextmanager
def moved_clock(start: datetime) -> Iterator[MovedClock]:
    """Set both clocks to ``start`` for all connections that are opened in the block; they tick."""
    with connection.cursor() as cursor:
        cursor.execute(_DEFAULTS)
        defaults = [statement for (statement,) in cursor.fetchall()]
        assert defaults
        cursor.execute(_CLOCK)
        cursor.execute(_VIEWS, [["pg_stat_activity", "pg_locks"]])
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)
    _resolve("SET search_path = public, moved_clock, pg_catalog", defaults)
    try:
        with time_machine.travel(start, tick=True) as python:
            yield MovedClock(python)
    finally:
        _resolve("RESET search_path", defaults)
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA moved_clock CASCADE")


def _resolve(path: str, defaults: list[str]) -> None:
    """Change where the sessions of this database find functions, and set the defaults in a new one."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {connection.ops.quote_name(connection.settings_dict['NAME'])} {path}")
    connection.close()
    with connection.cursor() as cursor:
        for statement in defaults:
            cursor.execute(statement)
