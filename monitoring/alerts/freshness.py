"""When the alerts were last checked: silence of a check that does not run is no good news."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from monitoring.stats.models import Sample

LAST_CHECK = "alerts_checked"
_ROUNDS = 3
_AT_LEAST = timedelta(minutes=2)


def checked_at() -> datetime | None:
    """Return when all checks were last gone through, None when they never were, or not within a day."""
    return Sample.objects.filter(name=LAST_CHECK).values_list("at", flat=True).first()


def is_fresh() -> bool:
    at = checked_at()
    return at is not None and timezone.now() - at <= max(settings.MONITORING_CHECK_INTERVAL * _ROUNDS, _AT_LEAST)
