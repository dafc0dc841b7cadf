"""Measure all indicators together, in a round, and store the readings for pages, gates and alerts."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta

from django.db import DatabaseError, connection, transaction
from django.db.models import Subquery
from django.utils import timezone

from config.lib import clock, sql
from config.lib.messages import Message, title_message
from config.postgres.base import without_standby
from config.postgres.locks import is_lock_timeout, short_lock_waits
from monitoring.indicators.definitions import INDICATORS
from monitoring.indicators.labels import TITLES
from monitoring.indicators.measurements import Measured, Sources
from monitoring.indicators.models import IndicatorReading, Level, Round
from monitoring.stats.process_counters import CountersError
from profiles import failures
from profiles.cache import CacheError
from profiles.max_api.client import MaxError
from profiles.rollout.monitored_period import monitored_since

# The key in the data of a reading that PostgreSQL failed to measure; outages of MAX and of Redis have their own alerts.
DATABASE_ERROR = "is_database_error"
# Gates use readings of at most this age.
FRESH = timedelta(seconds=10)
# Every round is kept for this time; after that, only the first round of each slot of ten minutes.
UNTHINNED = timedelta(hours=2)
RETENTION = timedelta(days=30)
_SLOT_SECONDS = 600
# An indicator is due after 90% of its interval, because the scheduler has some jitter.
_NEARLY = 0.9
_LOCK = 0x726F756E64  # "round"
_LOCK_SECONDS = 2.0
_FIRST = next(iter(INDICATORS))
_COLUMNS = ("measured_at", "value", "n", "level", "warning_limit", "critical_limit", "data", "message")
_THIN_OUT = """
DELETE FROM monitoring_indicatorreading WHERE round_at < %(kept)s OR (round_at < %(whole)s AND round_at NOT IN (
    SELECT min(round_at) FROM monitoring_indicatorreading
    GROUP BY date_bin('10 minutes', round_at, '2001-01-01 00:00 UTC')
))
"""

logger = logging.getLogger(__name__)

Readings = Mapping[str, IndicatorReading]


def latest() -> Round:
    """Return the last stored round, however old; measure a new one if none was stored since the rollout was resumed."""
    return _current() or fresh()


def fresh(*, is_worker: bool = False) -> Round:
    """Return the last stored round if it is younger than FRESH, otherwise measure a new one."""
    stored = _current()
    return stored if stored and stored.age < FRESH else take_round(unless_fresh=True, is_worker=is_worker)


# A page that shows the readings must not wait for a lost standby: the readings are measured again soon anyway.
@without_standby()
def take_round(*, is_worker: bool = True, unless_fresh: bool = False) -> Round:
    """Measure every indicator, store the readings and return them as a round.

    With ``unless_fresh``, return the stored round instead if another process has just measured one. With ``is_worker``,
    also measure the indicators that need MAX or the counters of this machine's processes.
    """
    # If another process holds the lock for too long, continue without it: two rounds at once only cost time.
    with sql.try_lock(_LOCK, wait_seconds=_LOCK_SECONDS):
        previous = _stored()
        if unless_fresh and previous and previous.age < FRESH and previous.at > monitored_since():
            return previous
        readings = measure(INDICATORS, previous.readings if previous else {}, is_worker=is_worker)
        now = readings[_FIRST].round_at
        with transaction.atomic():
            IndicatorReading.objects.bulk_create(
                readings.values(), update_conflicts=True, unique_fields=["name", "round_at"], update_fields=_COLUMNS
            )
            is_new_slot = previous is None or _slot(previous.at) != _slot(now)
            if is_new_slot and (at := clock.agreed()):
                with connection.cursor() as cursor:
                    cursor.execute(_THIN_OUT, {"kept": at - RETENTION, "whole": at - UNTHINNED})
    return Round(now, readings)


def measure(names: Iterable[str], known: Readings | None = None, *, is_worker: bool = False) -> Readings:
    """Measure the named indicators and return their unsaved readings.

    Worker-only indicators are measured only if ``is_worker`` is set and they are due; otherwise, their readings in
    ``known`` are copied. If a measurement fails, the reading contains the error.
    """
    now, sources, earlier = timezone.now(), Sources(), known or {}
    readings = {}
    # A failed statement aborts an open transaction. Rolling back is safe: measurements write nothing that must stay.
    savepoint = transaction.savepoint() if connection.in_atomic_block else None
    is_locked = False
    for name in names:
        try:
            # A locked table would delay each indicator that reads it, and so delay the check of the alerts by minutes.
            with short_lock_waits() if is_locked else nullcontext():
                readings[name] = _reading(name, sources, now, earlier.get(name), is_worker=is_worker)
        except (DatabaseError, CacheError, MaxError, CountersError) as error:
            is_locked = is_locked or is_lock_timeout(error)
            if savepoint:
                transaction.savepoint_rollback(savepoint)
                transaction.set_rollback(False)
            readings[name] = _failed(name, error, now)
    return readings


def _reading(
    name: str, sources: Sources, now: datetime, earlier: IndicatorReading | None, *, is_worker: bool
) -> IndicatorReading:
    indicator, measured = INDICATORS[name], Measured(None)
    if indicator.is_worker_only and earlier:
        is_due = earlier.level == Level.UNKNOWN or clock.distance(earlier.measured_at) >= indicator.every() * _NEARLY
        if not (is_worker and is_due):
            fields = {column: getattr(earlier, column) for column in _COLUMNS}
            return IndicatorReading(name=name, round_at=now, **fields)
    if is_worker or not indicator.is_worker_only:
        measured = indicator.measure(sources)
    return reading_of(name, now, measured)


def reading_of(name: str, at: datetime, measured: Measured) -> IndicatorReading:
    """Return the unsaved reading of an indicator's measurement, with its level, limits and message."""
    indicator = INDICATORS[name]
    limit, critical = indicator.limits(measured)
    return IndicatorReading(
        name=name,
        round_at=at,
        measured_at=at,
        value=measured.value,
        n=measured.n,
        level=indicator.level_of(measured),
        warning_limit=limit,
        critical_limit=critical,
        data=measured.data,
        message=indicator.message_of(measured).as_json(),
    )


def _failed(name: str, error: Exception, now: datetime) -> IndicatorReading:
    fields = {"event": "not_measured", "indicator": name, "error": type(error).__name__}
    logger.warning("indicator not measured", extra=fields)
    reason = (
        error.message
        if isinstance(error, MaxError)
        else failures.message_for(str(error) if isinstance(error, CacheError) else type(error).__name__)
    )
    params = {"title": title_message(TITLES[name]), "error": reason}
    message = Message("%(title)s could not be measured: %(error)s", params)
    data = {DATABASE_ERROR: True} if isinstance(error, DatabaseError) else {}
    columns = {"level": Level.ERROR, "data": data, "message": message.as_json()}
    return IndicatorReading(name=name, round_at=now, measured_at=now, **columns)


def _current() -> Round | None:
    """Return the last stored round; None if the rollout was resumed after that round, which then no longer counts."""
    stored = _stored()
    return stored if stored and stored.at > monitored_since() else None


def _stored() -> Round | None:
    """Return the last stored round; None if it lacks a reading of one of the INDICATORS."""
    last = IndicatorReading.objects.order_by("-pk").values("round_at")[:1]
    readings = {row.name: row for row in IndicatorReading.objects.filter(name__in=INDICATORS, round_at=Subquery(last))}
    return Round(readings[_FIRST].round_at, readings) if len(readings) == len(INDICATORS) else None


def _slot(at: datetime) -> int:
    return int(at.timestamp() // _SLOT_SECONDS)
