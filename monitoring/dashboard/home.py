"""The admin's first page: the state of the migration at a glance."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.timezone import now
from django.utils.translation import gettext as _

from config.lib import times
from config.lib.scope import scope_of
from monitoring.alerts.engine import last_check
from monitoring.alerts.models import Alert
from monitoring.dashboard import charts, held
from monitoring.dashboard.access import SEE, may, screen, visible_requests
from monitoring.indicators import rounds
from monitoring.indicators.models import Level, Round
from monitoring.rollout_control.presenters import phases
from monitoring.stats import reports, rollups
from monitoring.stats.cached import statistic
from monitoring.stats.models import Span
from profiles.models import ProfileSource
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Rollout
from profiles.rollout.rollout_settings import RolloutSettings

ALERTS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Share:
    """A name source with the number of employees and their share of all employees, from 0 to 100."""

    key: str
    label: str
    colour: str
    count: int
    share: float


def employee_shares(universities: set[int] | None = None) -> list[Share]:
    """Return the share of each name source among all employees, or among the employees of ``universities``."""
    counts, _at = reports.employees_by_source(universities)
    return shares(counts)


def shares(counts: dict[str, int]) -> list[Share]:
    """Return the share of every source, including sources that are missing from ``counts``."""
    total = sum(counts.values())
    return [
        Share(source, str(source.label), charts.SOURCE_COLOURS[source], n, 100 * n / total if total else 0.0)
        for source in ProfileSource
        for n in [counts.get(source, 0)]
    ]


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the template context of the first page; the admin theme calls this function."""
    content = overview(request) if request.user.has_perm(SEE) else {}
    return context | {"title": _("Overview"), "may": may(request)} | content


@screen(SEE)
def live(request: HttpRequest) -> HttpResponse:
    return TemplateResponse(request, "admin/screens/home_live.html", overview(request) | {"may": may(request)})


def overview(request: HttpRequest) -> dict[str, Any]:
    rollout, own = Rollout.current(), scope_of(request).university_ids()
    controls = RolloutSettings.read(rollout)
    spread, readings = convergence(), rounds.latest()
    lag = readings["inbox_lag"]
    # Alphabetical order puts “critical” before “warning”.
    open_alerts = list(Alert.objects.open().order_by("severity", "-fired_at")[: ALERTS_SHOWN + 1])
    return {
        "controls": controls,
        "rollout": rollout,
        "spread": spread,
        "phases": phases(controls, readings, may_see=own),
        **name_sources(request),
        "traffic": traffic(Span.HOUR, "day", _("Webhook updates by hour")),
        "last_hour": traffic(Span.MINUTE, "hour", _("Webhook updates in the last hour, by minute")),
        "errors": readings["webhook_error_rate"],
        "cache": cache(readings),
        "alerts": open_alerts[:ALERTS_SHOWN],
        "has_more_alerts": len(open_alerts) > ALERTS_SHOWN,
        "last_check": last_check(),
        "inbox": {
            "size": readings["inbox_pending"].value,
            "age": timedelta(seconds=lag.data.get("oldest_seconds", 0)),
            "exceeded_limit": settings.INBOX_LAG_ALERT if lag.level == Level.CRITICAL else None,
        },
        "is_inbox_alive": spread.has_living("inbox"),
        "measured": readings,
        "held": held.banner(request, controls, readings),
        "waiting": visible_requests(request.user).waiting().count(),
        "now": now(),
    }


def name_sources(request: HttpRequest) -> dict[str, Any]:
    """Return the shares of the name sources, and a chart of their history.

    A user who is limited to universities gets the shares of their employees and no chart, because the history exists
    only for all universities together.
    """
    own = scope_of(request).university_ids()
    if own is not None:
        return {"sources": employee_shares(own), "sources_chart": None, "is_own": True}
    chart = charts.source_history() or charts.new_employees(statistic("sources_by_day").value)
    return {"sources": employee_shares(), "sources_chart": chart}


def traffic(span: Span, period: str, title: str) -> dict[str, Any]:
    """Return the numbers of updates in the period that ends now, and their chart, with a bar for each ``span``.

    The first and the last bar may cover only a part of a span.
    """
    until = now()
    slots = rollups.counts_by(span, until - reports.PERIODS[period], until)
    received = [counts.states.total() for counts in slots.values()]
    failed = [counts.failed for counts in slots.values()]
    succeeded = [all_updates - errors for all_updates, errors in zip(received, failed, strict=True)]
    bars = charts.chart(
        "bar",
        [times.clock(start) for start in slots],
        charts.series(_("Errors"), failed, "bad"),
        charts.series(_("Updates"), succeeded, "webhook"),
        is_stacked=True,
        title=title,
        moments=list(map(times.iso, slots)),
    )
    return {"received": sum(received), "failed": sum(failed), "chart": bars}


def cache(readings: Round) -> dict[str, Any]:
    """Return the health of Redis and the numbers of cache operations; hit rate and memory use are percentages."""
    health, hits = readings["redis_connected"].data, readings["cache_hit_rate"]
    used, limit = health["used_memory_bytes"], health["maxmemory_bytes"]
    return {
        **health,
        # Only the task worker reads these counters: they are None before its first round.
        **{name: hits.data.get(name) for name in ("total_operations", "failed_operations")},
        "evictions": readings["evictions"],
        "hit_percent": None if hits.value is None else 100 * hits.value,
        "memory_percent": 100 * used / limit if used and limit else None,
    }
