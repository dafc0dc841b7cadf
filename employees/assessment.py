"""Assess data, sources and configuration before the migration (docs/migration-guide.md)."""

from datetime import timedelta
from functools import cache as cache_result
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Count, Q

from config.env import format_duration
from employees.checks import check_default_locale, check_open_files
from employees.models import Employee, University
from profiles import cache, names, user_ids
from profiles.models import Profile

# Measured: a million profiles take 325 MB, including keys and the overhead of the allocator.
BYTES_PER_PROFILE = 325
REVIEWED = (
    "DEBUG",
    "PROFILE_CACHE_ENABLED",
    "EMPLOYEE_SERVICE_PROFILE_ENABLED",
    "WEBHOOK_ENABLED",
    "MONITORING_ENABLED",
    "PROFILE_TTL",
    "PROFILE_CACHE_TIMEOUT",
    "MAX_API_URL",
    "MAX_API_TIMEOUT",
)
SECRETS = ("WEBHOOK_SECRET", "MAX_BOT_TOKEN", "MONITORING_TOKEN")
_INVALID_INDEXES = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
WHERE NOT i.indisvalid AND t.relname IN ('employees', 'profile_cache')
"""


def assess() -> dict[str, Any]:
    """Return totals, employees by source, configuration, cache sizes in bytes, and the reasons not to start phase 1.

    ``look_alike_universities`` has groups of universities, by ID, whose names look alike. ``no_max_ids`` has the IDs of
    employees whose stored MAX ID, such as TBD, would be refused today. For each secret, the configuration shows only
    whether it is set.
    """
    totals: dict[str, int] = Employee.objects.aggregate(
        total_employees=Count("pk"),
        employees_with_names=Count("pk", filter=~Q(first_name=names.UNKNOWN)),
        employees_with_max_id=Count("pk", filter=Q(max_id__isnull=False)),
    ) | {"universities": University.objects.count(), "cached_profiles": Profile.objects.count()}
    health = cache.health()
    projected = max(totals["employees_with_max_id"], totals["cached_profiles"]) * BYTES_PER_PROFILE
    values = {name: getattr(settings, name) for name in REVIEWED}
    return {
        "totals": totals,
        "look_alike_universities": University.objects.look_alikes(),
        "no_max_ids": _no_max_ids(),
        "by_source": dict(Employee.objects.values_list("profile_source").annotate(n=Count("*")).order_by("-n")),
        "configuration": {
            name: format_duration(value) if isinstance(value, timedelta) else str(value)
            for name, value in values.items()
        }
        | {name: "set" if getattr(settings, name) else "not set" for name in SECRETS},
        "cache": {
            "projected_bytes": projected,
            **{name: health[name] for name in ("used_memory_bytes", "maxmemory_bytes", "maxmemory_policy")},
        },
        "blockers": _blockers(health, projected),
    }


def _no_max_ids() -> list[int]:
    others = Employee.objects.exclude(max_id=None).exclude(max_id__regex="^[0-9]+$").order_by("pk")
    return [pk for pk, max_id in others.values_list("pk", "max_id").iterator() if not _is_accepted(str(max_id))]


def _is_accepted(max_id: str) -> bool:
    try:
        return user_ids.typed(max_id) == max_id
    except ValueError:
        return False


def _blockers(health: dict[str, Any], projected: int) -> list[str]:
    blockers = [f"migration not applied: {name}" for name in unapplied_migrations()]
    with connection.cursor() as cursor:
        cursor.execute(_INVALID_INDEXES)
        blockers += [f"invalid index: {name}; run migrate to rebuild it" for (name,) in cursor.fetchall()]
    blockers += [str(message.msg) for message in (*check_default_locale(None), *check_open_files(None))]
    if not health["redis_connected"]:
        blockers.append(f"Redis is unavailable: {health['last_error']}")
    elif health["maxmemory_bytes"] and projected > health["maxmemory_bytes"]:
        blockers.append(f"the cache may need {projected} bytes, Redis may use {health['maxmemory_bytes']}")
    if not settings.WEBHOOK_SECRET:
        blockers.append("WEBHOOK_SECRET is not set: anybody could write profiles")
    if not settings.MONITORING_ENABLED:
        blockers.append("MONITORING_ENABLED is false: no gate could pass")
    if not settings.MAX_BOT_TOKEN:
        blockers.append("MAX_BOT_TOKEN is not set: the direct API is never called")
    return blockers


def unapplied_migrations() -> list[str]:
    applied = MigrationRecorder(connection).applied_migrations()
    return [f"{app}.{name}" for app, name in _migrations() if (app, name) not in applied]


@cache_result
def _migrations() -> list[tuple[str, str]]:
    """Return the app label and name of each migration in the code, in order; cached, as reading them takes 40 ms."""
    graph = MigrationLoader(None).graph
    return list(dict.fromkeys(node for leaf in graph.leaf_nodes() for node in graph.forwards_plan(leaf)))
