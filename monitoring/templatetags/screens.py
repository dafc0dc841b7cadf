"""Template filters that format numbers and times for the dashboard in the active language."""

import re
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import template
from django.core.exceptions import ValidationError
from django.template import Context
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import json_script
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from config.lib import clock, times
from monitoring.alerts.models import Alert
from monitoring.dashboard import charts
from monitoring.dashboard.alert_details import details
from monitoring.dashboard.charts import day_format
from profiles import failures
from profiles.rollout import presenters
from webhooks.selections import received_between

register = template.Library()
_COMMAND = re.compile(r" \((?:manage\.py|POST) [^()]*\)")
T = gettext_lazy
_BREAKER = {"closed": T("closed"), "open": pgettext_lazy("circuit breaker", "open"), "half-open": T("half-open")}


@register.filter
def grouped(number: float | None) -> str:
    """Format a whole number with thousands separators (1,538 in English); None becomes a dash."""
    return "—" if number is None else str(number_format(int(number), force_grouping=True))


@register.filter
def day(moment: datetime) -> str:
    return date_format(timezone.localtime(moment), day_format())


@register.filter
def moment(at: datetime | None) -> str:
    """Format a datetime as HTML (``config.lib.times``); None becomes a dash."""
    return times.element(at) if at else "—"


@register.filter
def percent(number: float | Decimal | None, digits: int = 1) -> str:
    """Format a number from 0 to 100 as a percentage (93.2% in English); None becomes a dash."""
    return "—" if number is None else presenters.percentage(number_format(round(float(number), digits), digits))


@register.filter
def share(part: float | None, digits: int = 1) -> str:
    """Format a share from 0 to 1 as a percentage; None becomes a dash."""
    return percent(None if part is None else 100 * part, digits)


@register.filter
def css(number: float) -> str:
    """Format a number for CSS, with a decimal point in every language."""
    return f"{number:.3f}"


@register.filter
def memory(size: float | None) -> str:
    """Format a size in bytes; None becomes a dash."""
    return "—" if size is None else filesizeformat(size)


@register.filter
def duration(length: timedelta | None) -> str:
    """Format a duration in the largest unit that fits, from days to seconds; None becomes a dash."""
    return "—" if length is None else presenters.duration(length)


@register.filter
def ago(at: datetime | None) -> str:
    if at is None:
        return "—"
    passed = clock.age(at)
    return _("%(length)s ago") % {"length": duration(passed)} if passed >= timedelta(seconds=1) else _("just now")


@register.filter
def signed(number: int) -> str:
    """Format a difference with its sign: +5, −5, 0."""
    return f"{'+' if number > 0 else '−' if number < 0 else ''}{grouped(abs(number))}"


@register.filter
def breaker(state: str) -> object:
    return _BREAKER.get(state, state)


@register.filter
def failure(error: str) -> str:
    """Return the message for a stored error code."""
    return str(failures.message_for(error))


@register.filter
def without_commands(text: str) -> str:
    """Remove commands in parentheses, which are useful only in a terminal."""
    return _COMMAND.sub("", text)


@register.filter
def actor(by: str) -> str:
    return presenters.actor(by)


@register.simple_tag(takes_context=True)
def open_alerts(context: Context) -> int:
    """Return the number of open alerts, computed once per page; 0 for a user who may not see alerts."""
    request = context.get("request")
    if request is None or not request.user.has_perm("monitoring.view_alert"):
        return 0
    if not hasattr(request, "open_alerts"):
        request.open_alerts = Alert.objects.open().count()
    return int(request.open_alerts)


@register.simple_tag
def page_times() -> SafeString:
    """Return a script element with the site's time format, which screens.js needs to find the times in the page."""
    return json_script(times.page_format(), "page-times")


@register.simple_tag(takes_context=True)
def inbox_histogram(context: Context) -> dict[str, Any]:
    """Return the chart for the inbox's list of updates; if its time filter is invalid, a chart of the last 24 hours."""
    with suppress(ValidationError):
        return charts.inbox_histogram(*received_between(context["request"].GET))
    return charts.inbox_histogram(None, None)


@register.inclusion_tag("admin/screens/alert_details.html", takes_context=True)
def alert_details(context: Context, alert: Alert) -> dict[str, Any]:
    return details(alert, context["request"])


register.filter(presenters.percentage)
