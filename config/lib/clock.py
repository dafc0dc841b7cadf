"""Compare stored times with now, although the hosts' clocks may differ and may be set back or ahead."""

import logging
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Q
from django.utils import timezone

# With a greater difference, it is not known whose clock is right.
_TRUSTED_DIFFERENCE = timedelta(hours=1)

logger = logging.getLogger(__name__)


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
    """Return the condition that the time in a column has come, or is more than ``longest_pause`` in the future.

    No time is planned so far ahead. Such a time was stored while a clock was ahead, or the clock was set back later.
    """
    now = timezone.now()
    return Q((f"{field}__lte", now)) | Q((f"{field}__gt", now + longest_pause))


def of_database() -> datetime:
    """Return the time by PostgreSQL's clock, which is the same for all hosts."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def agreed() -> datetime | None:
    """Return the time by PostgreSQL's clock; None if it differs from this host's by more than an hour."""
    now = of_database()
    if distance(now) <= _TRUSTED_DIFFERENCE:
        return now
    seconds = round((timezone.now() - now).total_seconds())
    logger.error("nothing deleted by age: clocks differ", extra={"event": "clocks_differ", "seconds": seconds})
    return None


def is_older(field: str, age: timedelta) -> Q:
    """Return the condition that the time in a column is older than ``age``, for rows that are to be deleted.

    If PostgreSQL's clock and this host's differ by more than an hour, the condition is true for no row.
    """
    now = agreed()
    return Q((f"{field}__lt", now - age)) if now else Q(pk__in=[])
