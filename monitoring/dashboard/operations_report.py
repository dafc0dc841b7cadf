"""The daily, weekly and monthly operations reports as tables and charts, in English like the commands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count, Model
from django.db.models.functions import TruncDate
from django.utils import timezone

from config.env import format_duration
from employees.models import Employee
from monitoring.indicators import rounds
from monitoring.indicators.models import Round
from monitoring.stats import cached, reports, rollups
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
    """A chart with one value per day, the oldest first."""

    title: str
    points: list[tuple[str, float]]

    @property
    def highest(self) -> float:
        """Return the largest value, and at least 1."""
        return max([1.0, *(value for _day, value in self.points)])


@dataclass
class OperationsReport:
    period: str
    generated_at: datetime
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)


def daily() -> OperationsReport:
    readings, processes = rounds.fresh(), convergence()
    health = [
        ("processes that follow the rollout", f"{len(processes.reached)}/{processes.living}"),
        ("silent processes", ", ".join(processes.silent) or "—"),
        ("waiting updates", int(readings["inbox_pending"].value or 0)),
        *_data(readings, "dead_letters", "total_dead_letters"),
    ]
    coverage = [*_data(readings, "coverage", "total_users", "users_with_profiles"), _percent(readings, "coverage")]
    tables = [Table("Health", health), Table("Coverage", coverage), _webhook(reports.webhook_stats("day"))]
    return OperationsReport("daily", timezone.now(), tables)


def weekly() -> OperationsReport:
    stats, readings = reports.webhook_stats("week"), rounds.fresh()
    states = ("complete_profiles", "partial_profiles", "empty_profiles", "stale_profiles")
    scores = ("profile_completeness", "profile_freshness", "profile_quality")
    quality = [*_data(readings, "profile_quality", *states), *(_percent(readings, name) for name in scores)]
    actions = [("•", action) for action in reports.quality()["recommended_actions"]]
    tables = [
        Table("Quality", quality),
        Table("Recommended", actions or [("•", "—")]),
        Table("Cache", _cache(readings)),
        _webhook(stats),
        Table("Errors", sorted(stats["errors_by_type"].items()) or [("—", 0)]),
    ]
    return OperationsReport("weekly", timezone.now(), tables, _charts(7))


def monthly() -> OperationsReport:
    sources = {row["source"]: row["count"] for row in cached.statistic("employees").value}
    total = sum(sources.values())
    shares = [(source, f"{count} ({reports.percentage(count, total)}%)") for source, count in sorted(sources.items())]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relname = ANY(%s) ORDER BY 2 DESC",
            [list(_TABLES)],
        )
        sizes = cursor.fetchall()
    tables = [
        Table("Name sources of employees", shares or [("—", "0")]),
        Table("Cache", [("PROFILE_TTL", format_duration(settings.PROFILE_TTL)), *_cache(rounds.fresh())]),
        Table("Size of tables, bytes", sizes),
        _webhook(reports.webhook_stats("month")),
    ]
    return OperationsReport("monthly", timezone.now(), tables, _charts(30))


PERIODS: dict[str, Callable[[], OperationsReport]] = {"daily": daily, "weekly": weekly, "monthly": monthly}


def _webhook(stats: dict[str, Any]) -> Table:
    names = (
        "total_events", "successful_events", "failed_events", "duplicate_events", "pending_events", "profiles_stored",
        "p95_processing_time_ms",
    )  # fmt: skip
    return Table("Webhook", [(name, stats[name]) for name in names])


def _data(readings: Round, indicator: str, *names: str) -> list[tuple[str, Any]]:
    return [(name, readings[indicator].data.get(name, "—")) for name in names]


def _percent(readings: Round, indicator: str) -> tuple[str, Any]:
    value = readings[indicator].value
    return indicator, "—" if value is None else f"{100 * value:.2f}%"


def _cache(readings: Round) -> list[tuple[str, Any]]:
    names = ("redis_connected", "used_memory_bytes", "maxmemory_bytes", "evicted_keys", "latency_ms")
    return [*_data(readings, "redis_connected", *names), _percent(readings, "cache_hit_rate")]


def _charts(count: int) -> list[Chart]:
    """Return charts of the last ``count`` days, in UTC; the value of a day without rows is 0."""
    now = timezone.now()
    days = [now.date() - timedelta(days=count - 1 - number) for number in range(count)]
    updates = rollups.counts_by(Span.DAY, datetime.combine(days[0], time.min, tzinfo=UTC), now)
    received = {day.date(): counts.states.total() for day, counts in updates.items()}
    failed = {day.date(): counts.failed for day, counts in updates.items()}

    def chart(title: str, values: Mapping[date, int]) -> Chart:
        return Chart(title, [(day.isoformat(), float(values.get(day, 0))) for day in days])

    def rows_per_day(model: type[Model], moment: str) -> dict[date, int]:
        rows = model._default_manager.filter(**{f"{moment}__gt": now - timedelta(days=count)})  # noqa: SLF001 (public)
        return dict(rows.values_list(TruncDate(moment)).annotate(n=Count("*")).order_by())

    return [
        chart("Updates per day", received),
        chart("Failed updates per day", failed),
        chart("New employees per day", rows_per_day(Employee, "created_at")),
        chart("Updated profiles per day", rows_per_day(Profile, "last_updated")),
    ]
