"""The hours in which missing updates are a problem: WEBHOOK_WORKING_HOURS from Monday to Friday, in Moscow time."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings

MOSCOW = ZoneInfo("Europe/Moscow")
_SATURDAY = 5


def is_working_time(at: datetime) -> bool:
    return working_time(at - timedelta(minutes=1), at) > timedelta()


def working_time(start: datetime, end: datetime) -> timedelta:
    """Return how much of the time from ``start`` to ``end`` is working time."""
    first_hour, last_hour = settings.WEBHOOK_WORKING_HOURS
    total = timedelta()
    day, last_day = start.astimezone(MOSCOW).date(), end.astimezone(MOSCOW).date()
    while day <= last_day:
        if day.weekday() < _SATURDAY:
            opens = datetime.combine(day, time(), MOSCOW) + timedelta(hours=first_hour)
            closes = opens + timedelta(hours=last_hour - first_hour)
            total += max(min(end, closes) - max(start, opens), timedelta())
        day += timedelta(days=1)
    return total
