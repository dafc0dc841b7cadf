"""Rounds of readings: everything is measured once, stored, and read by whoever shows or judges it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta

from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from config.lib.messages import Message
from monitoring.indicators.definitions import INDICATORS, Indicator
from monitoring.indicators.measurements import Measured, Sources
from monitoring.indicators.models import IndicatorReading, Level, Round
from profiles import failures
from profiles.cache import CacheError
from profiles.max_api.client import MaxError

# What a step is judged by is at most so old.
FRESH = timedelta(seconds=10)
KEPT_WHOLE = timedelta(hours=2)
KEPT = timedelta(days=30)
_SLOT_SECONDS = 600
# Beats come with some jitter: what is due once in an interval must not just miss it.
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
    """Return the stored round, however old; the first one is taken for whoever asks first."""
    return _stored() or fresh()


def fresh(*, is_worker: bool = False) -> Round:
    """Return a round that is at most FRESH old: the stored one, or one that is taken now."""
    return _fresh_enough() or take_round(unless_fresh=True, is_worker=is_worker)


def take_round(*, is_worker: bool = True, unless_fresh: bool = False) -> Round:
    """Measure every indicator and store the readings; a round that somebody took meanwhile will do where it is fresh.

    Only the worker calls MAX, and counts what the processes of its machine counted.
    """
    with _lock():
        if unless_fresh and (found := _fresh_enough()):
            return found
        previous = _stored()
        readings = measure(INDICATORS, previous.readings if previous else {}, is_worker=is_worker)
        now = readings[_FIRST].round_at
        with transaction.atomic():
            IndicatorReading.objects.bulk_create(
                readings.values(), update_conflicts=True, unique_fields=["name", "round_at"], update_fields=_COLUMNS
            )
            if previous is None or _slot(previous.at) != _slot(now):
                _thin_out(now)
    return Round(now, readings)


def measure(names: Iterable[str], known: Readings | None = None, *, is_worker: bool = False) -> Readings:
    """Measure indicators now and store nothing; what is not due is carried over from the readings that are known."""
    now, sources, earlier = timezone.now(), Sources(), known or {}
    return {name: _reading(name, sources, now, earlier.get(name), is_worker=is_worker) for name in names}


def _reading(
    name: str, sources: Sources, now: datetime, earlier: IndicatorReading | None, *, is_worker: bool
) -> IndicatorReading:
    indicator = INDICATORS[name]
    if earlier is None or earlier.level == Level.UNKNOWN:
        is_due = True
    else:
        is_due = abs(now - earlier.measured_at) >= indicator.every() * _NEARLY
    if indicator.is_worker_only and not (is_worker and is_due):
        if earlier is None:
            return _read(name, indicator, Measured(None), now)
        return IndicatorReading(name=name, round_at=now, **{column: getattr(earlier, column) for column in _COLUMNS})
    try:
        # A statement that fails spoils a transaction, if there is one, but for its savepoint.
        with transaction.atomic() if connection.in_atomic_block else nullcontext():
            return _read(name, indicator, indicator.measure(sources), now)
    except (DatabaseError, CacheError, MaxError) as error:
        logger.warning(
            "not measured", extra={"event": "not_measured", "indicator": name, "error": type(error).__name__}
        )
        what = str(error) if isinstance(error, CacheError) else type(error).__name__
        words = {"title": indicator.title_message(), "error": failures.message_for(what)}
        message = Message("%(title)s could not be measured: %(error)s", words)
        return IndicatorReading(name=name, round_at=now, measured_at=now, level=Level.ERROR, message=message.as_json())


def _read(name: str, indicator: Indicator, measured: Measured, now: datetime) -> IndicatorReading:
    limit, critical = indicator.limits(measured)
    return IndicatorReading(
        name=name,
        round_at=now,
        measured_at=now,
        value=measured.value,
        n=measured.n,
        level=indicator.level_of(measured),
        warning_limit=limit,
        critical_limit=critical,
        data=measured.data,
        message=indicator.message_of(measured).as_json(),
    )


def _stored() -> Round | None:
    """Return the round that was stored last; None where one of today's indicators is not in it.

    By the order of writing: a moment to come is of a clock that was put right since.
    """
    at = IndicatorReading.objects.order_by("-pk").values_list("round_at", flat=True).first()
    if at is None:
        return None
    rows = IndicatorReading.objects.filter(name__in=INDICATORS, round_at=at)
    readings = {reading.name: reading for reading in rows}
    return Round(at, readings) if len(readings) == len(INDICATORS) else None


def _fresh_enough() -> Round | None:
    found = _stored()
    return found if found and found.age < FRESH else None


def _slot(at: datetime) -> int:
    return int(at.timestamp() // _SLOT_SECONDS)


def _thin_out(now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_THIN_OUT, {"kept": now - KEPT, "whole": now - KEPT_WHOLE})


@contextmanager
def _lock() -> Iterator[None]:
    """Hold the lock of the rounds; after a while go on without it: two rounds at once cost time and harm nothing."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while not (is_locked := _locked("SELECT pg_try_advisory_lock(%s)")) and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        yield
    finally:
        if is_locked:
            _locked("SELECT pg_advisory_unlock(%s)")


def _locked(sql: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql, [_LOCK])
        return bool(cursor.fetchone()[0])
