"""The time since a stored moment, while clocks of several hosts differ and may be set back or ahead."""

from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone


def age(at: datetime) -> timedelta:
    """Return how long ago a moment was; zero for a moment in the future."""
    return max(timezone.now() - at, timedelta())


def distance(at: datetime) -> timedelta:
    """Return how far away a moment is, in the past or the future, to recognise what is out of date.

    A moment in the future was recorded before the clock was set back. Its age would be negative, so it would count as
    fresh until the clock catches up.
    """
    return abs(timezone.now() - at)


def is_due(field: str, longest_pause: timedelta) -> Q:
    """Return the condition that the moment in a column has come, or is farther ahead than the longest pause.

    A moment so far ahead was stored while a clock was ahead, or the clock has been set back since.
    """
    now = timezone.now()
    return Q((f"{field}__lte", now)) | Q((f"{field}__gt", now + longest_pause))
