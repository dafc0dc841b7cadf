"""The time since a stored moment, while clocks of several hosts differ and may be set back or ahead."""

from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone


def age(at: datetime) -> timedelta:
    """Return how long ago a moment was; zero for a moment in the future."""
    return max(timezone.now() - at, timedelta())


def distance(at: datetime) -> timedelta:
    """Return how far away a moment is, in the past or the future, to recognise what is out of date.

    A moment in the future was recorded before a clock was set back. By its age, it would be new until then.
    """
    return abs(timezone.now() - at)


def is_due(field: str, longest_pause: timedelta) -> Q:
    """Return the condition that the moment in a column has come, or is farther away than the longest pause.

    In the second case, a clock that was ahead stored it, or a clock was set back since.
    """
    now = timezone.now()
    return Q((f"{field}__lte", now)) | Q((f"{field}__gt", now + longest_pause))
