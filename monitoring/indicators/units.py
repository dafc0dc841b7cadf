"""Format the values of indicators with their units."""

from django.utils.formats import localize
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from profiles.rollout.presenters import percentage

T = gettext_lazy
# For each unit: the factor for a value in the base unit, and the unit's name for people.
_UNITS: dict[str, tuple[float, str | Promise]] = {
    "%": (100, "%"),
    "points": (100, ""),
    "ms": (1, T("ms")),
    "s": (1, T("s")),
    "min": (1 / 60, T("min")),
    "h": (1 / 3600, T("h")),
    "d": (1, T("d")),
    "days": (1 / 86_400, T("d")),
}
# Values in these units are shown in the unit that fits them: four days in minutes are hard to read.
_DURATIONS = {"min", "h"}
_LEAST_SECONDS = {"days": 172_800, "h": 3600, "min": 120}


def with_unit(value: float, unit: str) -> str:
    """Return the value of an indicator as text with its unit.

    ``value`` is in the base unit, as IndicatorReading stores it, and is converted to ``unit``. Instead of minutes or
    hours, the text uses whichever of seconds, minutes, hours and days suits the value.
    """
    if unit == "bool":
        return _("yes") if value else _("no")
    if unit in _DURATIONS:
        unit = next((longer for longer, least in _LEAST_SECONDS.items() if value >= least), "s")
    factor, name = _UNITS.get(unit, (1, ""))
    value *= factor
    rounded = round(value, 1 if value >= 10 else 2)
    text = str(localize(int(rounded) if rounded == int(rounded) else rounded))
    if name == "%":
        return percentage(text)
    return f"{text}\u00a0{name}" if name else text
