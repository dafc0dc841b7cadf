"""The daily, weekly and monthly operations reports as tables and charts, in the active language."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count, Model
from django.db.models.functions import TruncDate
from django.utils import timezone
from django.utils.translation import gettext as _

from config.lib import clock
from config.lib.messages import shown_number
from employees.models import Employee
from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from monitoring.indicators.models import Round
from monitoring.operations_report.rows import shown, title_of
from monitoring.stats import cached, reports, rollups
from monitoring.stats.models import Span
from monitoring.templatetags.screens import percent
from profiles.models import Profile, ProfileSource
from profiles.rollout import presenters
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Rollout
from profiles.rollout.phases import PHASES
from profiles.rollout.rollout_settings import RolloutSettings

_TABLES = ("employees", "profile_cache", "webhook_inbox", "webhook_repeats", "monitoring_gatecheck")


@dataclass(frozen=True)
class Table:
    """A titled list of rows.

    A row is a name and a value; the suffix of the name gives the unit. Shares are from 0 to 1.
    """

    title: str
    rows: list[tuple[str, Any]]

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Return the rows as titles and formatted values; if there are none, return one line with the title “none”."""
        lines = [(title_of(name), shown(name, value)) for name, value in self.rows]
        return lines or [(_("none"), "")]


@dataclass(frozen=True)
class Chart:
    """A chart with one value per day, the oldest first."""

    title: str
    points: list[tuple[str, float]]

    @property
    def highest(self) -> float:
        """Return the largest value, but at least 1, because callers divide by it."""
        return max([1.0, *(value for _day, value in self.points)])


@dataclass
class OperationsReport:
    period: str
    generated_at: datetime
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)

    @property
    def title(self) -> str:
        titles = {
            "daily": _("Directory: report for the last day"),
            "weekly": _("Directory: report for the last week"),
            "monthly": _("Directory: report for the last month"),
        }
        return titles[self.period]


def daily() -> OperationsReport:
    readings, processes, webhook = rounds.fresh(), convergence(), reports.webhook_stats("day")
    health = [
        ("error_rate", reports.error_rate(webhook)),
        ("living_processes", processes.living),
        ("reached_processes", len(processes.reached)),
        ("silent_processes", ", ".join(processes.silent) or 0),
        ("pending_updates", int(readings["inbox_pending"].value or 0)),
        *_data(readings, "dead_letters", "total_dead_letters"),
    ]
    coverage = [*_data(readings, "coverage", "total_users", "users_with_profiles"), _share(readings, "coverage")]
    tables = [
        Table(_("Open alerts"), _open_alerts()),
        Table(_("Phases"), _phases()),
        Table(_("Health"), health),
        Table(_("Coverage"), coverage),
        _webhook(webhook),
    ]
    return OperationsReport("daily", timezone.now(), tables)


def weekly() -> OperationsReport:
    stats, readings = reports.webhook_stats("week"), rounds.fresh()
    states = ("complete_profiles", "partial_profiles", "empty_profiles", "stale_profiles")
    scores = ("profile_completeness", "profile_freshness", "profile_quality")
    quality = [*_data(readings, "profile_quality", *states), *(_share(readings, name) for name in scores)]
    tables = [
        Table(_("Quality"), quality),
        Table(_("Recommendations"), [("•", action) for action in reports.quality()["recommended_actions"]]),
        Table(_("Cache"), _cache(readings)),
        _webhook(stats),
        Table(_("Errors"), sorted(stats["errors_by_type"].items())),
    ]
    return OperationsReport("weekly", timezone.now(), tables, _charts(7))


def monthly() -> OperationsReport:
    """Return the report of the last month; its charts leave out days with the value 0."""
    sources = {row["source"]: row["count"] for row in cached.statistic("employees").value}
    total = sum(sources.values())
    shares = [
        (
            str(ProfileSource(source).label) if source in ProfileSource else source,
            f"{shown_number(count)} ({percent(reports.percentage(count, total))})",
        )
        for source, count in sorted(sources.items())
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relname = ANY(%s) ORDER BY 2 DESC",
            [list(_TABLES)],
        )
        sizes = [(f"{table}_bytes", size) for table, size in cursor.fetchall()]
    tables = [
        Table(_("Name sources of employees"), shares),
        Table(_("Cache"), [("PROFILE_TTL", presenters.length(settings.PROFILE_TTL)), *_cache(rounds.fresh())]),
        Table(_("Size of tables"), sizes),
        _webhook(reports.webhook_stats("month")),
    ]
    charts = [Chart(chart.title, [(day, n) for day, n in chart.points if n]) for chart in _charts(30)]
    return OperationsReport("monthly", timezone.now(), tables, charts)


PERIODS: dict[str, Callable[[], OperationsReport]] = {"daily": daily, "weekly": weekly, "monthly": monthly}


def _open_alerts() -> list[tuple[str, str]]:
    """Return the open alerts and how long each has been open, the oldest first."""
    rows = []
    for alert in Alert.objects.open().order_by("fired_at"):
        name = f"{alert} ({alert.get_severity_display()})"
        rows.append((name, f"{presenters.duration(clock.age(alert.fired_at))}: {alert.text}"))
    return rows


def _phases() -> list[tuple[str, str]]:
    percents = RolloutSettings.read(Rollout.current()).percents
    return [(presenters.name_of(name), presenters.percentage(percents[name])) for name in PHASES]


def _webhook(stats: dict[str, Any]) -> Table:
    names = (
        "total_events", "successful_events", "failed_events", "duplicate_events", "pending_events", "profiles_stored",
        "p95_processing_time_ms",
    )  # fmt: skip
    return Table(_("Webhook"), [(name, stats[name]) for name in names])


def _data(readings: Round, indicator: str, *names: str) -> list[tuple[str, Any]]:
    return [(name, readings[indicator].data.get(name)) for name in names]


def _share(readings: Round, indicator: str) -> tuple[str, Any]:
    return indicator, readings[indicator].value


def _cache(readings: Round) -> list[tuple[str, Any]]:
    names = ("redis_connected", "used_memory_bytes", "maxmemory_bytes", "evicted_keys", "latency_ms")
    return [*_data(readings, "redis_connected", *names), _share(readings, "cache_hit_rate")]


def _charts(count: int) -> list[Chart]:
    """Return the charts of updates, failed updates, new employees and updated profiles in the last ``count`` days.

    The days are in UTC. A day on which nothing happened has the value 0.
    """
    now = timezone.now()
    days = [now.date() - timedelta(days=count - 1 - number) for number in range(count)]
    updates = rollups.counts_by(Span.DAY, datetime.combine(days[0], time.min, tzinfo=UTC), now)
    received = {day.date(): counts.states.total() for day, counts in updates.items()}
    failed = {day.date(): counts.failed for day, counts in updates.items()}

    def chart(title: str, values: Mapping[date, int]) -> Chart:
        return Chart(title, [(day.isoformat(), float(values.get(day, 0))) for day in days])

    def rows_per_day(model: type[Model], moment: str) -> dict[date, int]:
        rows = model._default_manager.filter(**{f"{moment}__gt": now - timedelta(days=count)})  # noqa: SLF001 (public)
        return dict(rows.values_list(TruncDate(moment, tzinfo=UTC)).annotate(n=Count("*")).order_by())

    return [
        chart(_("Updates per day"), received),
        chart(_("Failed updates per day"), failed),
        chart(_("New employees per day"), rows_per_day(Employee, "created_at")),
        chart(_("Updated profiles per day"), rows_per_day(Profile, "last_updated")),
    ]
