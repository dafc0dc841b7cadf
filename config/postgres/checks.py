"""Deployment checks: whether PostgreSQL may lose committed data, and how a connection pooler is configured."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register  # noqa: A004 (Django's name)
from django.db import DatabaseError, connection

from config.postgres.base import DeadlineConnection, parameters, statement_deadline

_LOSSES = {
    "fsync": "a power cut may damage the whole database",
    "full_page_writes": "a power cut may damage the whole database",
    "synchronous_commit": "what was acknowledged in the last second before a crash may be lost",
}
_PID = "SELECT pg_backend_pid()"
_PROBES = 10
_PROBE_SECONDS = 5.0
_QUERY = """
SELECT current_setting('fsync'), current_setting('full_page_writes'),
       -- Not the current setting, which our own sessions have changed.
       (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'),
       (SELECT count(*) FROM pg_stat_replication), current_setting('synchronous_standby_names')
"""


@register(deploy=True)
def check_durability(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Return an error for each PostgreSQL setting with which acknowledged data may be lost.

    Return a warning if there are only asynchronous standbys.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(_QUERY)
            *values, standbys, synchronous = cursor.fetchone()
    except DatabaseError:
        return []
    found: list[CheckMessage] = [
        Error(
            f"PostgreSQL runs with {name} = off: {loss}.",
            hint=f"Set {name} = on. The view pg_settings shows where it is set.",
            id=f"postgres.E00{number}",
        )
        for number, ((name, loss), value) in enumerate(zip(_LOSSES.items(), values, strict=True), 1)
        if value == "off"
    ]
    if (standbys and not synchronous) or (synchronous and values[2] == "local"):
        text = "The standbys of PostgreSQL are asynchronous: a failover may lose what was acknowledged just before it."
        hint = (
            "Set synchronous_standby_names, with synchronous_commit = on, or accept the loss and run the checks of the"
            " runbook after a failover."
        )
        found.append(Warning(text, hint=hint, id="postgres.W001"))
    return found


@register(deploy=True)
def check_pooler(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Return messages about the connection pooler in DATABASE_URL; none without a pooler or while PostgreSQL is down.

    One message names the pooler's mode. A warning is added for each of two missing settings: DATABASE_DIRECT_URL, the
    address of PostgreSQL itself, and the pooler's max_prepared_statements.
    """
    try:
        with statement_deadline(_PROBE_SECONDS), closing(DeadlineConnection.connect(**parameters())) as probe:
            pooling = probe.pooling
            mode = "transaction mode" if pooling.is_pooled and _shares_sessions() else "session mode, as it seems"
        direct = settings.DATABASE_DIRECT and DeadlineConnection.connect(**parameters(settings.DATABASE_DIRECT))
    except psycopg.Error:
        return []
    if direct:
        direct.close()
    if not pooling.is_pooled:
        return []
    found: list[CheckMessage] = [Info(f"DATABASE_URL leads to a connection pooler in {mode}.", id="postgres.I001")]
    if not direct or direct.pooling.is_pooled:
        text = "The pooler passes no notifications on: an update waits up to two seconds before it is processed."
        hint = "Set DATABASE_DIRECT_URL to the address of PostgreSQL itself; only the inbox process uses it."
        found.append(Warning(text, hint=hint, id="postgres.W002"))
    if not pooling.prepares:
        text = "The pooler keeps no prepared statements: PostgreSQL plans each statement again."
        hint = "Set max_prepared_statements, which PgBouncer has from version 1.21 on."
        found.append(Warning(text, hint=hint, id="postgres.W003"))
    return found


def _shares_sessions() -> bool:
    """Return whether the pooler, in several attempts, gave two connected clients the same session of PostgreSQL."""
    with (
        closing(DeadlineConnection.connect(**parameters(), autocommit=True)) as idle,
        closing(DeadlineConnection.connect(**parameters())) as busy,
    ):
        pids = {idle.execute(_PID).fetchone()}
        for _ in range(_PROBES):
            pids.add(idle.execute(_PID).fetchone())
            if busy.execute(_PID).fetchone() in pids or len(pids) > 1:
                return True
            # Try again, because other clients may have taken the sessions of these two clients.
            pids.add(idle.execute(_PID).fetchone())
            busy.rollback()
    return False
