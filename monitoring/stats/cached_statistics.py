"""What counts over whole tables found, when, and how long they took: one table, one rule for when one is due again.

A count rests for a multiple of the time that it took, so that counting never costs more than that share of a core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from monitoring.stats.models import CachedStatistic

_LOCK = 0x636F756E74  # "count"


def keep(name: str, look: Callable[[], Any]) -> CachedStatistic:
    """Look, and keep what was found with how long that took; return it as it would be read back."""
    at, started = timezone.now(), time.perf_counter()
    value = look()
    took_ms = (time.perf_counter() - started) * 1000
    CachedStatistic.objects.update_or_create(name=name, defaults={"value": value, "at": at, "took_ms": took_ms})
    return CachedStatistic(name=name, value=CachedStatistic.as_kept(value), at=at, took_ms=took_ms)


def is_due(row: CachedStatistic | None, *, after: timedelta, rest: int) -> bool:
    """Tell whether a figure is older than ``after``, and has rested for ``rest`` times as long as it took."""
    return row is None or timezone.now() - row.at >= max(after, timedelta(milliseconds=rest * row.took_ms))


def age_seconds(at: datetime) -> float:
    return max(0.0, round((timezone.now() - at).total_seconds(), 1))


@contextmanager
def try_lock() -> Iterator[bool]:
    """Say whether nobody else counts now: a round that takes longer than its interval is not joined by the next."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        has_lock = bool(cursor.fetchone()[0])
    try:
        yield has_lock
    finally:
        if has_lock:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
