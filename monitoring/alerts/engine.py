"""Check the indicators and update the alerts; only a change of an alert's state sends notifications.

An alert fires at the first check that detects its problem. It resolves when the problem has been absent for one check
interval. Every earlier alert of the same kind and key within a day doubles this waiting time, so that a flapping alert
stays open.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Min
from django.utils import timezone, translation

from config.lib import clock
from monitoring.alerts import outbox
from monitoring.alerts.kinds import CHECKS, Kind, Severity
from monitoring.alerts.models import Alert, Delivery
from monitoring.indicators import rounds
from monitoring.indicators.measurements import SINCE_RESUME
from monitoring.indicators.models import IndicatorReading, Level
from monitoring.stats.models import Sample
from profiles.rollout.decision import is_monitored

FLAP_WINDOW = timedelta(days=1)
LONGEST_HOLD = timedelta(hours=6)
RETENTION = timedelta(days=730)
LAST_CHECK = "alerts_checked"
# An interval counts as over after 90% of its length, because the scheduler has some jitter.
_NEARLY = 0.9
_MISSED_CHECKS, _AT_LEAST = 3, timedelta(minutes=2)
_LOCK = 0x616C65727473  # "alerts"
_DETECTED = ("severity", "words", "data", "message", "seen_at", "clear_since")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LastCheck:
    """The last complete check of the alerts: its time (None if there was none) and its age.

    Before the first check, the age counts from the installation. ``is_running`` is True if a check, even an incomplete
    one, was made recently, or if monitoring is off. ``is_late`` is True if the last complete check is too long ago, so
    that there may be problems without an alert.
    """

    at: datetime | None
    age: timedelta
    is_late: bool
    is_running: bool

    def warning(self) -> str:
        """Return a sentence for administrators, in English, with the age of the last check in seconds."""
        seconds = round(self.age.total_seconds())
        return f"alerts were last checked {seconds} s ago" if self.at else f"alerts were never checked for {seconds} s"


def last_check() -> LastCheck:
    """Return the last check.

    The last check is the row with the highest primary key. After a clock has been set back, an earlier check may have
    a later time.
    """
    checks = Sample.objects.filter(name=LAST_CHECK).order_by("-pk").values_list("at", flat=True)
    last, at = checks.first(), checks.filter(value__gt=0).first()
    age = clock.distance(at or _installed_at())
    limit = max(settings.MONITORING_CHECK_INTERVAL * _MISSED_CHECKS, _AT_LEAST)
    is_running = not is_monitored() or clock.distance(last or _installed_at()) <= limit
    return LastCheck(at, age, is_late=is_monitored() and age > limit, is_running=is_running)


def _installed_at() -> datetime:
    applied = MigrationRecorder.Migration.objects.filter(app="monitoring").aggregate(at=Min("applied"))["at"]
    return applied or timezone.now()


def holding_alerts(resumed_at: datetime) -> tuple[list[Alert], list[Alert]]:
    """Return the alerts that keep phase 4 from advancing, and the alerts that the last resume of the rollout excused.

    A resume does not end alerts about remaining work, such as dead letters. But the operators who resumed the rollout
    knew about this work. Such an alert is therefore excused, unless the work added since the resume exceeds the limit
    by itself. Call this function after a check of the alerts, because it uses the readings of that check.
    """
    readings = rounds.latest()

    def is_known(alert: Alert) -> bool:
        reading = readings[CHECKS[Kind(alert.kind)].indicator]
        since, limit = reading.data.get(SINCE_RESUME), reading.warning_limit
        return alert.fired_at <= resumed_at and since is not None and limit is not None and since <= limit

    alerts = list(Alert.objects.holding(detected_since=resumed_at).order_by("pk"))
    known = list(filter(is_known, alerts))
    return [alert for alert in alerts if alert not in known], known


def check_alerts() -> list[str]:
    """Check every kind of alert once, and store the changes; return a line of text for each change of an alert.

    Return an empty list while monitoring is off.
    """
    if not is_monitored():
        return []
    readings = rounds.fresh(is_worker=True)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        lines: list[str] = []
        is_complete = True
        open_alerts = list(Alert.objects.open())
        for kind, check in CHECKS.items():
            reading = readings[check.indicator]
            if reading.level == Level.ERROR:
                is_complete = is_complete and not reading.data.get(rounds.DATABASE_ERROR)
                continue
            detected = _detect(kind, reading)
            same_kind = {alert.key: alert for alert in open_alerts if alert.kind == kind}
            known = same_kind.pop(detected.key, None) if detected else None
            lines += [line for gone in same_kind.values() if (line := _clear(gone))]
            lines += _fire(detected, known) if detected else []
        Alert.objects.filter(clock.is_older("resolved_at", RETENTION)).delete()
        # The value 0 means that some alert was not checked, so that this does not count as a check of all alerts.
        Sample.objects.create(name=LAST_CHECK, value=len(CHECKS) if is_complete else 0)
        Sample.objects.filter(clock.is_older("at", FLAP_WINDOW)).delete()
    return lines


def _detect(kind: Kind, reading: IndicatorReading) -> Alert | None:
    """Return a new, unsaved alert; None if the indicator's level is not bad enough for this kind of alert."""
    check = CHECKS[kind]
    if not reading.is_broken or (check.level == Level.CRITICAL and reading.level != Level.CRITICAL):
        return None
    known = {"current_rate": round(reading.value or 0, 4), "threshold": reading.warning_limit} | reading.data
    return Alert(
        kind=kind,
        key=str(known[check.key]) if check.key else "",
        severity=Severity.CRITICAL if reading.level == Level.CRITICAL else Severity.WARNING,
        words=check.params(reading),
        data={name: known[name] for name in check.fields},
    )


def _fire(detected: Alert, known: Alert | None) -> list[str]:
    alert = known or detected
    if known is None and (muted := Alert.objects.muted().filter(kind=alert.kind, key=alert.key).first()):
        alert.muted_by, alert.muted_until, alert.mute_reason = muted.muted_by, muted.muted_until, muted.mute_reason
    if detected.severity == Severity.CRITICAL:
        alert.severity = detected.severity
    alert.words, alert.data, alert.seen_at, alert.clear_since = detected.words, detected.data, timezone.now(), None
    with translation.override("en"):
        alert.message = alert.text[:500]
    # Leave the other fields of a known alert alone: somebody may be acknowledging or muting it at this moment.
    alert.save(update_fields=_DETECTED if known else None)
    lines = _announce(alert)
    return lines if lines or known else [f"firing, muted: {alert.message}"]


def _announce(alert: Alert) -> list[str]:
    """Queue notifications if the alert is new, has become critical or is no longer muted.

    Return a list with a line of text about these notifications; an empty list if there are none.
    """
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
    # After the clock was set back, count from now: otherwise the alert would stay open until the old time.
    alert.clear_since = min(alert.clear_since or now, now)
    if now - alert.clear_since < _hold(alert, now):
        alert.save(update_fields=["clear_since"])
        return None
    alert.resolved_at = now
    alert.save(update_fields=["clear_since", "resolved_at"])
    if alert.announced:
        outbox.put_resolved(alert)
    _log(logging.INFO, "alert resolved", alert)
    return f"resolved: {alert.message}"


def _hold(alert: Alert, now: datetime) -> timedelta:
    """Return how long the problem must be absent before the alert resolves."""
    same = Alert.objects.filter(kind=alert.kind, key=alert.key, fired_at__gt=now - FLAP_WINDOW)
    times = min(same.exclude(pk=alert.pk).count(), 10)
    hold: timedelta = settings.MONITORING_CHECK_INTERVAL * _NEARLY * 2**times
    return min(hold, max(LONGEST_HOLD, settings.MONITORING_CHECK_INTERVAL))


def _log(level: int, message: str, alert: Alert) -> None:
    fields = {"event": message.replace(" ", "_"), "kind": alert.kind, "key": alert.key, "severity": alert.severity}
    logger.log(level, message, extra=fields)
