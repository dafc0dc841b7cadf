"""Checks the indicators and keeps the alerts' states: only a change of state is sent to anybody.

An alert fires at the first check that finds it. It resolves when it was not found for a while: an interval of checks
the first time, twice as long each time that it came back within a day. One that flaps therefore stays open.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone, translation

from monitoring.alerts import outbox
from monitoring.alerts.freshness import LAST_CHECK
from monitoring.alerts.kinds import Kind, Severity
from monitoring.alerts.models import Alert, Delivery
from monitoring.alerts.rules import CHECKS, Detected
from monitoring.indicators import rounds
from monitoring.indicators.models import Level
from monitoring.stats.models import Sample
from profiles.rollout.decision import is_monitored

FLAPS_COUNT_FOR = timedelta(days=1)
LONGEST_HOLD = timedelta(hours=6)
KEPT = timedelta(days=730)
# Beats come with some jitter: the second clear check in a row must not just miss.
_NEARLY = 0.9
_LOCK = 0x616C65727473  # "alerts"

logger = logging.getLogger(__name__)


def check_alerts() -> list[str]:
    """Check every indicator once; return a line for each change of state. Nothing while monitoring is off.

    An indicator that could not be measured changes nothing, in either direction.
    """
    if not is_monitored():
        return []
    readings = rounds.fresh(is_worker=True)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        lines: list[str] = []
        for kind, check in CHECKS.items():
            reading = readings[check.indicator]
            if reading.level != Level.ERROR:
                lines += _resolve_or_fire(kind, check.detect(reading))
        Alert.objects.filter(resolved_at__lt=timezone.now() - KEPT).delete()
        Sample.objects.create(name=LAST_CHECK, value=len(CHECKS))
        Sample.objects.filter(at__lt=timezone.now() - FLAPS_COUNT_FOR).delete()
    return lines


def _resolve_or_fire(kind: Kind, found: Detected | None) -> list[str]:
    gone = Alert.objects.open().filter(kind=kind)
    if found:
        gone = gone.exclude(key=found.key)
    lines = [line for alert in gone if (line := _clear(alert))]
    return lines + (_fire(kind, found) if found else [])


def _fire(kind: Kind, found: Detected) -> list[str]:
    now = timezone.now()
    alert = Alert.objects.open().filter(kind=kind, key=found.key).first()
    is_new = alert is None
    if alert is None:
        alert = Alert(kind=kind, key=found.key, severity=found.severity, fired_at=now)
        _inherit_mute(alert)
    alert.seen_at, alert.clear_since = now, None
    if found.severity == Severity.CRITICAL:
        alert.severity = found.severity
    alert.words, alert.data = found.words, found.data
    with translation.override("en"):
        alert.message = alert.text[:500]
    alert.save()
    lines = _announce(alert)
    return lines or ([f"firing, muted: {alert.message}"] if is_new else [])


def _inherit_mute(alert: Alert) -> None:
    muted = Alert.objects.muted().filter(kind=alert.kind, key=alert.key).first()
    if muted:
        alert.muted_by, alert.muted_until, alert.mute_reason = muted.muted_by, muted.muted_until, muted.mute_reason


def _announce(alert: Alert) -> list[str]:
    """Send an alert that is new, became critical or is no longer muted; the severity of an open one only rises."""
    if alert.is_muted or alert.announced == alert.severity:
        return []
    event = Delivery.Event.ESCALATED if alert.announced else Delivery.Event.FIRING
    alert.announced = alert.severity
    alert.save(update_fields=["announced"])
    outbox.put(alert, event)
    _log(logging.ERROR, "alert firing", alert)
    return [f"{event}: {alert.severity} {alert.message}"]


def _clear(alert: Alert) -> str | None:
    now = timezone.now()
    alert.clear_since = alert.clear_since or now
    if now - alert.clear_since < _hold(alert, now):
        alert.save(update_fields=["clear_since"])
        return None
    alert.resolved_at = now
    alert.save(update_fields=["clear_since", "resolved_at"])
    if alert.announced:
        outbox.put_end(alert)
    _log(logging.INFO, "alert resolved", alert)
    return f"resolved: {alert.message}"


def _hold(alert: Alert, now: datetime) -> timedelta:
    """Return for how long an alert must not be found before it is resolved."""
    same = Alert.objects.filter(kind=alert.kind, key=alert.key, fired_at__gt=now - FLAPS_COUNT_FOR)
    times = min(same.exclude(pk=alert.pk).count(), 10)
    hold: timedelta = settings.MONITORING_CHECK_INTERVAL * _NEARLY * 2**times
    return min(hold, max(LONGEST_HOLD, settings.MONITORING_CHECK_INTERVAL))


def _log(level: int, message: str, alert: Alert) -> None:
    fields = {"event": message.replace(" ", "_"), "kind": alert.kind, "key": alert.key, "severity": alert.severity}
    logger.log(level, message, extra=fields)
