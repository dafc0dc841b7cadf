"""Notices that MAX went silent: a lost subscription, a firewall or a certificate looks like a quiet day."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Min
from django.utils import timezone

from webhooks.models import InboxUpdate, Repeat

MOSCOW = ZoneInfo("Europe/Moscow")
_SATURDAY = 5


def silence() -> timedelta | None:
    """Return for how much working time nothing has arrived, None while that is not worth a word.

    Nights and weekends neither count nor alarm, so a quiet Monday morning is measured from Friday's last update.
    """
    now = timezone.now()
    since = _last_arrival()
    if since is None or not settings.WEBHOOK_SILENCE_AFTER or not working_time(now - timedelta(minutes=1), now):
        return None
    silent = working_time(since, now)
    return silent if silent >= settings.WEBHOOK_SILENCE_AFTER else None


def working_time(start: datetime, end: datetime) -> timedelta:
    """Sum up WEBHOOK_WORKING_HOURS, Monday to Friday in Moscow, between two moments."""
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


def _last_arrival() -> datetime | None:
    """Return when something last arrived, a repeat included; where MAX was told to send, else the installation."""
    tables = (InboxUpdate.objects, Repeat.objects)
    latest = [rows.order_by("-id").values_list("received_at", flat=True).first() for rows in tables]
    arrivals = [moment for moment in latest if moment]
    if arrivals or not settings.WEBHOOK_PUBLIC_URL:
        return max(arrivals, default=None)
    own_migrations = MigrationRecorder.Migration.objects.filter(app="webhooks")
    installed_at: datetime | None = own_migrations.aggregate(at=Min("applied"))["at"]
    return installed_at
