"""The admin's first page: where the migration stands, in one glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.formats import date_format
from django.utils.timezone import now
from django.utils.translation import gettext as _

from monitoring.alerts.models import Alert
from monitoring.dashboard import charts, history_charts
from monitoring.dashboard.access import SEE, may, screen
from monitoring.indicators import rounds
from monitoring.indicators.models import Level, Round
from monitoring.rollout_control.presenters import phases
from monitoring.stats import reports, rollups
from monitoring.stats.directory import figures
from monitoring.stats.models import Span
from profiles.models import ProfileSource
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Rollout
from profiles.rollout.rollout_settings import RolloutSettings

ALERTS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole: ``share`` is 0 to 100."""

    key: str
    label: str
    colour: str
    count: int
    share: float


def shares(counts: dict[str, int]) -> list[Share]:
    """Return each source's part, those without one included."""
    total = sum(counts.values())
    return [
        Share(source, str(source.label), charts.SOURCE_COLOURS[source], n, 100 * n / total if total else 0.0)
        for source in ProfileSource
        for n in [counts.get(source, 0)]
    ]


def source_counts(rows: Iterable[Sequence[Any]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for _university, _name, source, n in rows:
        counts[source] += n
    return dict(counts)


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the first page what its user may see; called by the theme."""
    return context | {"title": _("Overview"), "may": may(request)} | (overview() if request.user.has_perm(SEE) else {})


@screen(SEE)
def live(request: HttpRequest) -> HttpResponse:
    return TemplateResponse(request, "admin/screens/home_live.html", overview() | {"may": may(request)})


def overview() -> dict[str, Any]:
    rollout = Rollout.current()
    controls = RolloutSettings.read(rollout)
    kept = figures("sources", "sources_by_day")
    spread, readings = convergence(), rounds.latest()
    # “critical” comes before “warning” in the alphabet too.
    open_alerts = list(Alert.objects.open().order_by("severity", "-fired_at")[: ALERTS_SHOWN + 1])
    return {
        "controls": controls,
        "rollout": rollout,
        "spread": spread,
        "phases": phases(controls, readings),
        "sources": shares(source_counts(kept["sources"].value)),
        "sources_chart": history_charts.sources() or charts.new_employees(kept["sources_by_day"].value),
        "traffic": last_24_hours(),
        "errors": readings["webhook_error_rate"],
        "cache": cache(readings),
        "alerts": open_alerts[:ALERTS_SHOWN],
        "has_more_alerts": len(open_alerts) > ALERTS_SHOWN,
        "inbox": inbox(readings),
        "is_inbox_alive": spread.has_living("inbox"),
        "measured": readings,
        "now": now(),
    }


def last_24_hours() -> dict[str, Any]:
    """Return the updates of the last 24 hours, as /monitoring/webhook/stats counts them, and a bar for each hour.

    The share of errors is 0 to 100 of what is finished. The bars of the first and the last hour are parts of one.
    """
    until = now()
    hours = rollups.counts_by(Span.HOUR, until - reports.PERIODS["day"], until)
    bars = charts.chart(
        "bar",
        [date_format(hour, "H:i") for hour in hours],
        charts.series(_("Errors"), [seen.failed for seen in hours.values()], "bad"),
        charts.series(_("Updates"), [seen.states.total() - seen.failed for seen in hours.values()], "webhook"),
        is_stacked=True,
        title=_("Webhook updates by hour"),
    )
    failed = sum(seen.failed for seen in hours.values())
    finished = failed + sum(seen.successful for seen in hours.values())
    return {
        "received": sum(seen.states.total() for seen in hours.values()),
        "failed": failed,
        "share": 100 * failed / finished if finished else None,
        "is_bad": failed > finished * settings.WEBHOOK_ERROR_ALERT_THRESHOLD,
        "chart": bars,
    }


def inbox(readings: Round) -> dict[str, Any]:
    lag = readings["inbox_lag"]
    return {
        "size": readings["inbox_pending"].value,
        "age": timedelta(seconds=lag.data.get("oldest_seconds", 0)),
        "lags_over": settings.INBOX_LAG_ALERT if lag.level == Level.CRITICAL else None,
    }


def cache(readings: Round) -> dict[str, Any]:
    """Return what Redis said of itself and what was counted of it, with its shares as percentages."""
    health, hits = readings["redis_connected"].data, readings["cache_hit_rate"]
    used, limit = health["used_memory_bytes"], health["maxmemory_bytes"]
    return {
        **health,
        # Counted by the worker alone: not known before its first round.
        **{name: hits.data.get(name) for name in ("total_operations", "failed_operations")},
        "evictions": readings["evictions"],
        "hit_percent": None if hits.value is None else 100 * hits.value,
        "memory_percent": 100 * used / limit if used and limit else None,
    }
