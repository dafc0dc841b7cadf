"""The admin's first page: where the migration stands, in one glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.formats import date_format
from django.utils.timezone import now
from django.utils.translation import gettext as _

from monitoring import reports, traffic
from monitoring.alerts.models import Alert
from monitoring.figures import figures
from monitoring.models import Span
from monitoring.screens import charts, past
from monitoring.screens.access import SEE, may, screen
from monitoring.screens.phases import phases
from profiles.models import ProfileSource
from profiles.rollout.controls import Controls
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Rollout
from webhooks.models import InboxUpdate

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
    return context | {"title": _("Overview"), "may": may(request)} | (told() if request.user.has_perm(SEE) else {})


@screen(SEE)
def live(request: HttpRequest) -> HttpResponse:
    return TemplateResponse(request, "admin/screens/home_live.html", told() | {"may": may(request)})


def told() -> dict[str, Any]:
    rollout = Rollout.current()
    controls = Controls.read(rollout)
    kept = figures("sources", "sources_by_day")
    spread, backlog = convergence(), InboxUpdate.objects.backlog()
    # “critical” comes before “warning” in the alphabet too.
    open_alerts = list(Alert.objects.open().order_by("severity", "-fired_at")[: ALERTS_SHOWN + 1])
    return {
        "controls": controls,
        "rollout": rollout,
        "spread": spread,
        "phases": phases(controls),
        "sources": shares(source_counts(kept["sources"].value)),
        "sources_chart": past.sources() or charts.new_employees(kept["sources_by_day"].value),
        "traffic": last_24_hours(),
        "cache": cache(),
        "alerts": open_alerts[:ALERTS_SHOWN],
        "has_more_alerts": len(open_alerts) > ALERTS_SHOWN,
        "backlog": backlog,
        "is_inbox_alive": spread.has_living("inbox"),
        "lags_over": settings.INBOX_LAG_ALERT if backlog.age > settings.INBOX_LAG_ALERT else None,
        "now": now(),
    }


def last_24_hours() -> dict[str, Any]:
    """Return the updates of the last 24 hours, as /monitoring/webhook/stats counts them, and a bar for each hour.

    The share of errors is 0 to 100 of what is finished. The bars of the first and the last hour are parts of one.
    """
    until = now()
    hours = traffic.counts_by(Span.HOUR, until - reports.PERIODS["day"], until)
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


def cache() -> dict[str, Any]:
    health = reports.cache_health()
    used, limit = health["used_memory_bytes"], health["maxmemory_bytes"]
    return health | {
        "hit_percent": 100 * health["cache_hit_rate"] if health["total_operations"] else None,
        "memory_percent": 100 * used / limit if used and limit else None,
    }
