"""The context of an alert's page: value, limit and trend of the indicator, the steps to take, and related pages."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from config.lib.scope import scope_of
from monitoring.alerts.kinds import CHECKS, Kind
from monitoring.alerts.models import Alert
from monitoring.alerts.runbook import STEPS
from monitoring.dashboard.access import SEE, SEE_COMPARISONS
from monitoring.dashboard.held import SEE_EMPLOYEES
from monitoring.indicators.definitions import INDICATORS
from monitoring.indicators.models import IndicatorReading, Level
from monitoring.indicators.trends import HOURS, Trend, moments_of
from monitoring.indicators.units import with_unit
from monitoring.rollout_control import SEE_ROLLOUT
from profiles.models import ProfileSource
from webhooks.models import State

# The chart of an alert begins this long before the alert fired, and ends this long after it was resolved.
_BEFORE, _AFTER = timedelta(hours=2), timedelta(hours=1)
_SEE_INBOX = "webhooks.view_inboxupdate"


@dataclass(frozen=True, slots=True)
class Rows:
    """A link from an alert to the page that lists the affected rows.

    Users need the ``permission`` to see the link; if ``is_global``, they must also have access to all universities.
    """

    title: Promise
    permission: str
    url_name: str
    query: dict[str, str]
    is_global: bool = False

    @property
    def is_keyed(self) -> bool:
        """Return whether the page shows the single row whose primary key is the alert's key."""
        return self.url_name.endswith("_change")

    def url(self, alert: Alert) -> str:
        args = [alert.key] if self.is_keyed else []
        return reverse(self.url_name, args=args) + (f"?{urlencode(self.query)}" if self.query else "")


def _inbox(title: Promise, **query: str) -> Rows:
    return Rows(title, _SEE_INBOX, "admin:webhooks_inboxupdate_changelist", query, is_global=True)


_DEAD_LETTERS = Rows(
    _("Dead letters"), _SEE_INBOX, "admin:webhooks_inboxupdate_dead_letters", {}, is_global=True
)  # fmt: skip
_CACHE = Rows(_("Cache health"), SEE, "screens:cache", {})
_EMPLOYEES = partial(Rows, permission=SEE_EMPLOYEES, url_name="admin:employees_employee_changelist")
_ROWS: dict[str, list[Rows]] = {
    Kind.PROFILE_QUALITY_LOW: [
        Rows(_("Name sources"), SEE, "screens:sources", {}, is_global=True),
        _EMPLOYEES(_("Employees without a name"), query={"profile_source__exact": ProfileSource.DEFAULT.value}),
    ],
    Kind.WEBHOOK_ERROR_RATE_HIGH: [
        _inbox(_("Quarantined updates"), state__exact=State.QUARANTINED.value), _DEAD_LETTERS,
    ],
    Kind.CACHE_CONNECTION_FAILED: [_CACHE],
    Kind.CACHE_EVICTIONS_HIGH: [_CACHE],
    Kind.DATABASE_RESTORED: [Rows(_("Rollout changes"), SEE_ROLLOUT, "admin:rollout_change_changelist", {})],
    Kind.INBOX_LAG_HIGH: [_inbox(_("Pending updates"), state__exact=State.PENDING.value)],
    Kind.DEAD_LETTERS: [_DEAD_LETTERS],
    Kind.WEBHOOK_SILENT: [_inbox(_("The latest updates"))],
    Kind.SUBSCRIPTION_LOST: [_inbox(_("The latest updates"))],
    Kind.SUBSCRIPTION_WRONG: [_inbox(_("The latest updates"))],
    Kind.DIRECT_API_MISSING: [
        Rows(_("Unresolved names"), "employees.view_unresolvedname", "admin:employees_unresolvedname_changelist", {})
    ],
    Kind.SECRET_FAILURES: [_inbox(_("The latest updates"))],
    Kind.ROLLOUT_HELD: [
        Rows(_("Rollout"), SEE_ROLLOUT, "screens:rollout", {}),
        Rows(
            _("Conflicts"), SEE_COMPARISONS, "screens:comparisons", {"days": "counted", "outcome": "conflict"},
            is_global=True,
        ),
        _EMPLOYEES(
            _("Employees with a name from the cache"),
            query={"profile_source__in": f"{ProfileSource.WEBHOOK},{ProfileSource.USER_INPUT}"},
        ),
    ],
    Kind.BACKFILL_FAILED: [
        Rows(_("Backfill"), "employees.view_backfillrun", "admin:employees_backfillrun_change", {}),
    ],
}  # fmt: skip


def rows_concerned(alert: Alert, request: HttpRequest) -> list[tuple[str, str]]:
    """Return the title and the URL of each related page that the user may open."""
    user, sees_all = request.user, scope_of(request).sees_all
    pages = [rows for rows in _ROWS.get(alert.kind, []) if user.has_perm(rows.permission)]
    pages = [rows for rows in pages if alert.key or not rows.is_keyed]
    return [(str(rows.title), rows.url(alert)) for rows in pages if sees_all or not rows.is_global]


def details(alert: Alert, request: HttpRequest) -> dict[str, Any]:
    """Return the context of alert_details.html; for a resolved alert, with the last reading before its end."""
    check = CHECKS.get(alert.kind)  # type: ignore[call-overload]
    context = {"rows": rows_concerned(alert, request), "steps": STEPS.get(alert.kind, ())}  # type: ignore[call-overload]
    context["runbook_url"] = alert.runbook_url if settings.RUNBOOK_URL else ""
    if check is None:
        return context
    until = min(timezone.now(), alert.resolved_at + _AFTER) if alert.resolved_at else timezone.now()
    since = min(alert.fired_at - _BEFORE, until - HOURS)
    readings = IndicatorReading.objects.filter(name=check.indicator, round_at__lte=alert.resolved_at or until)
    reading = readings.order_by("-round_at").first()
    if reading is None:
        return context
    unit = INDICATORS[check.indicator].unit
    limit = reading.critical_limit if check.level == Level.CRITICAL else reading.warning_limit
    text: Callable[[float], str] = partial(with_unit, unit=unit)
    moments = moments_of([check.indicator], since, until).get(check.indicator, [])
    return context | {
        "reading": reading,
        "number": "" if reading.value is None else text(reading.value),
        "limit": "" if limit is None or unit == "bool" else text(limit),
        "operator": INDICATORS[check.indicator].comparison,
        "trend": Trend.of(moments, [limit], text, since=since, until=until),
    }
