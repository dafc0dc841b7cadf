"""Numbers and moments as the screens write them."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django import template
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.messages import number
from monitoring.dashboard.charts import day_format
from profiles import failures
from profiles.rollout import presenters, rules

register = template.Library()
T = gettext_lazy
_UNITS = (T("B"), T("KB"), T("MB"), T("GB"), T("TB"))
_K = 1024
_BREAKER = {"closed": T("closed"), "open": T("open"), "half-open": T("half-open")}


@register.filter
def grouped(number: float | None) -> str:
    """Write a whole number with its thousands apart."""
    return "—" if number is None else f"{int(number):,}".replace(",", "\u202f")


@register.filter
def day(moment: datetime) -> str:
    return date_format(timezone.localtime(moment), day_format())


@register.filter
def percent(number: float | Decimal | None, digits: int = 1) -> str:
    """Write a number from 0 to 100 as a percentage; None is unknown."""
    return "—" if number is None else f"{number_format(round(float(number), digits), digits)}\u00a0%"


@register.filter
def share(part: float | None, digits: int = 1) -> str:
    """Write a number from 0 to 1 as a percentage; None is unknown."""
    return percent(None if part is None else 100 * part, digits)


@register.filter
def css(number: float) -> str:
    """Write a number as style sheets read it, whatever the language."""
    return f"{number:.3f}"


@register.filter
def memory(size: float | None) -> str:
    """Write bytes in the largest unit that leaves a number of at least 1."""
    if size is None:
        return "—"
    power = 0
    while size >= _K and power < len(_UNITS) - 1:
        size, power = size / _K, power + 1
    return f"{number_format(f'{size:.1f}'.removesuffix('.0'))}\u00a0{_UNITS[power]}"


@register.filter
def lasting(duration: timedelta | None) -> str:
    """Write how long something lasts, by its largest unit."""
    if duration is None:
        return "—"
    seconds = duration.total_seconds()
    for unit, size in ((_("d"), 86_400), (_("h"), 3600), (_("min"), 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}\u00a0{unit}"
    return f"{max(seconds, 0):.0f}\u00a0{_('s')}"


@register.filter
def ago(at: datetime | None) -> str:
    if at is None:
        return "—"
    passed = timezone.now() - at
    return _("%(length)s ago") % {"length": lasting(passed)} if passed >= timedelta(seconds=1) else _("just now")


@register.filter
def exact(percent_of_all: Decimal) -> str:
    """Write a percentage of the rollout as people do: 25, 12.5, in Russian 12,5."""
    return number(rules.shown(percent_of_all))


@register.filter
def signed(number: int) -> str:
    """Write a change: +5, −5, 0."""
    return f"{'+' if number > 0 else '−' if number < 0 else ''}{grouped(abs(number))}"


@register.filter
def breaker(state: str) -> object:
    return _BREAKER.get(state, state)


@register.filter
def failure(error: str) -> str:
    """Say in words what went wrong; the class of the error beside it is for whoever reads the logs."""
    return str(failures.message_for(error))


@register.filter
def actor(by: str) -> str:
    return presenters.actor(by)


register.filter(presenters.percentage)
