"""Compare stored times with now, although the hosts' clocks may differ and may be set back or ahead."""

from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone


def age(at: datetime) -> timedelta:
    """Return the time that has passed since ``at``; zero if ``at`` is in the future."""
    return max(timezone.now() - at, timedelta())


def distance(at: datetime) -> timedelta:
    """Return the time between ``at`` and now, in either direction, to recognise outdated data.

    A time in the future was stored before the clock was set back. Its ``age`` would be zero, so the data would count as
    fresh until the clock catches up.
    """
    return abs(timezone.now() - at)


def is_due(field: str, longest_pause: timedelta) -> Q:
    """Return the condition that the time in a column has come, or is further in the future than the longest pause.

    A time so far in the future was stored while a clock was ahead, or the clock has been set back since.
    """
    now = timezone.now()
    return Q((f"{field}__lte", now)) | Q((f"{field}__gt", now + longest_pause))
