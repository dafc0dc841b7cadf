"""What operations look at each day, week and month, as tables and series: in English, as all that commands print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count, Model
from django.db.models.functions import TruncDate
from django.utils import timezone

from config.env import in_words
from employees.models import Employee
from monitoring.indicators import rounds
from monitoring.indicators.models import Round
from monitoring.stats import population, reports, rollups
from monitoring.stats.models import Span
from profiles.models import Profile
from profiles.rollout.heartbeat import convergence

_TABLES = ("employees", "profile_cache", "webhook_inbox", "webhook_repeats", "monitoring_gatecheck")


@dataclass(frozen=True)
class Table:
    title: str
    rows: list[tuple[str, Any]]


@dataclass(frozen=True)
class Chart:
    """A value a day, the oldest first."""

    title: str
    points: list[tuple[str, float]]


@dataclass
class Digest:
    period: str
    generated_at: datetime
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def daily() -> Digest:
    stats, readings, processes = reports.webhook_stats("day"), rounds.fresh(), convergence()
    return Digest(
        "daily",
        timezone.now(),
        [
            Table(
                "Health",
                [
                    ("processes that follow the rollout", f"{len(processes.reached)}/{processes.living}"),
                    ("silent processes", ", ".join(processes.silent) or "—"),
                    ("waiting updates", int(readings["inbox_pending"].value or 0)),
                    *_rows(readings, "dead_letters", "total_dead_letters"),
                ],
            ),
            Table(
                "Coverage",
                [*_rows(readings, "coverage", "total_users", "users_with_profiles"), _percent(readings, "coverage")],
            ),
            _traffic(stats),
        ],
    )


def weekly() -> Digest:
    stats, readings = reports.webhook_stats("week"), rounds.fresh()
    actions = reports.quality()["recommended_actions"]
    return Digest(
        "weekly",
        timezone.now(),
        [
            Table(
                "Quality",
                [*_rows(readings, "profile_quality", *_PROFILES), *(_percent(readings, name) for name in _SCORES)],
            ),
            Table("Recommended", [("•", action) for action in actions] or [("•", "—")]),
            Table("Cache", _cache(readings)),
            _traffic(stats),
            Table("Errors", sorted(stats["errors_by_type"].items()) or [("—", 0)]),
        ],
        _series(7),
    )


def monthly() -> Digest:
    sources = {row["source"]: row["count"] for row in population.employees().rows}
    total = sum(sources.values())
    shares = [(source, f"{count} ({reports.percentage(count, total)} %)") for source, count in sorted(sources.items())]
    return Digest(
        "monthly",
        timezone.now(),
        [
            Table("Who named the employees", shares or [("—", "0")]),
            Table("Cache", [("PROFILE_TTL", in_words(settings.PROFILE_TTL)), *_cache(rounds.fresh())]),
            Table("Size of the tables, bytes", _sizes()),
            _traffic(reports.webhook_stats("month")),
        ],
        _series(30),
    )


PERIODS: dict[str, Callable[[], Digest]] = {"daily": daily, "weekly": weekly, "monthly": monthly}

_CACHE = ("redis_connected", "used_memory_bytes", "maxmemory_bytes", "evicted_keys", "latency_ms")
_PROFILES = ("complete_profiles", "partial_profiles", "empty_profiles", "stale_profiles")
_SCORES = ("profile_completeness", "profile_freshness", "profile_quality")
_TRAFFIC = (
    "total_events", "successful_events", "failed_events", "duplicate_events", "pending_events", "profiles_stored",
    "p95_processing_time_ms",
)  # fmt: skip


def _traffic(stats: dict[str, Any]) -> Table:
    return Table("Webhook", [(name, stats[name]) for name in _TRAFFIC])


def _rows(readings: Round, indicator: str, *names: str) -> list[tuple[str, Any]]:
    return [(name, readings[indicator].data.get(name, "—")) for name in names]


def _percent(readings: Round, indicator: str) -> tuple[str, Any]:
    value = readings[indicator].value
    return indicator, "—" if value is None else f"{100 * value:.2f} %"


def _cache(readings: Round) -> list[tuple[str, Any]]:
    return [*_rows(readings, "redis_connected", *_CACHE), _percent(readings, "cache_hit_rate")]


def _series(days: int) -> list[Chart]:
    wanted = _days(days)
    updates = rollups.counts_by(Span.DAY, datetime.combine(wanted[0], time.min, tzinfo=UTC), timezone.now())
    received = {day.date(): seen.states.total() for day, seen in updates.items()}
    failed = {day.date(): seen.failed for day, seen in updates.items()}
    return [
        Chart("Updates a day", _points(wanted, received)),
        Chart("Failed updates a day", _points(wanted, failed)),
        Chart("New employees a day", _a_day(Employee, "created_at", days)),
        Chart("Profiles renewed a day", _a_day(Profile, "last_updated", days)),
    ]


def _a_day(model: type[Model], moment: str, days: int) -> list[tuple[str, float]]:
    """Count rows by the day of a moment, in UTC."""
    since = timezone.now() - timedelta(days=days)
    rows = model._default_manager.filter(**{f"{moment}__gt": since})  # noqa: SLF001 (Django's own name)
    found = dict(rows.values_list(TruncDate(moment)).annotate(n=Count("*")).order_by())
    return _points(_days(days), found)


def _days(count: int) -> list[date]:
    """Return the last days, the oldest first, in UTC."""
    today = timezone.now().date()
    return [today - timedelta(days=count - 1 - number) for number in range(count)]


def _points(days: list[date], found: Mapping[date, int]) -> list[tuple[str, float]]:
    """Return a point a day; one without anything is 0."""
    return [(day.isoformat(), float(found.get(day, 0))) for day in days]


def _sizes() -> list[tuple[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relname = ANY(%s) ORDER BY 2 DESC",
            [list(_TABLES)],
        )
        return [(name, size) for name, size in cursor.fetchall()]
