"""When MAX last sent an update: a lost subscription, a firewall or a certificate looks like a quiet day."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Exists, Min, OuterRef

from webhooks.models import DuplicateDelivery, InboxUpdate

MOSCOW = ZoneInfo("Europe/Moscow")
# The request ids of our own probes begin with this; MAX sends no request id, and no proxy makes up such a one.
SYNTHETIC = "synthetic-"
_SATURDAY = 5


def is_working_time(at: datetime) -> bool:
    return working_time(at - timedelta(minutes=1), at) > timedelta()


def working_time(start: datetime, end: datetime) -> timedelta:
    """Return the WEBHOOK_WORKING_HOURS, Monday to Friday in Moscow, between two moments."""
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


def last_arrival() -> datetime | None:
    """Return when MAX last delivered an update, a duplicate included; None when it never did.

    With WEBHOOK_PUBLIC_URL set, the time of installation stands in for the first delivery.
    """
    own = InboxUpdate.objects.filter(request_id__startswith=SYNTHETIC)
    deliveries = (
        InboxUpdate.objects.exclude(request_id__startswith=SYNTHETIC),
        DuplicateDelivery.objects.exclude(Exists(own.filter(dedup_key=OuterRef("dedup_key")))),
    )
    latest = [rows.order_by("-id").values_list("received_at", flat=True).first() for rows in deliveries]
    if any(latest) or not settings.WEBHOOK_PUBLIC_URL:
        return max(filter(None, latest), default=None)
    migrations = MigrationRecorder.Migration.objects.filter(app="webhooks")
    installed_at: datetime | None = migrations.aggregate(at=Min("applied"))["at"]
    return installed_at
