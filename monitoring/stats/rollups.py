"""The counts of the webhook, in any window: kept by triggers of the inbox, added up by minute, hour, day and so on.

A window is cut into weeks, days, six hours, hours and minutes; only the part of a minute at its start is read
from the inbox.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from monitoring.stats.models import Rollup, Span
from webhooks import payloads
from webhooks.models import OTHER, State

MINUTE = timedelta(minutes=1)
LENGTHS = {
    Span.MINUTE: MINUTE,
    Span.HOUR: timedelta(hours=1),
    Span.SIX_HOURS: timedelta(hours=6),
    Span.DAY: timedelta(days=1),
    Span.WEEK: timedelta(days=7),
}
# A month's window needs the minutes at its start.
KEPT = {
    Span.MINUTE: timedelta(days=31),
    Span.HOUR: timedelta(days=33),
    Span.SIX_HOURS: timedelta(days=33),
    Span.DAY: timedelta(days=730),
    Span.WEEK: timedelta(days=730),
}
FAILED = (State.QUARANTINED, State.DEAD)
SUCCESSFUL = (State.DONE, State.SKIPPED)
LARGEST_REASONS = 20
# The growth from one bucket of processing times to the next, as in the database's monitoring_bucket().
GROWTH = 1.05
_ROLLING_UP = 0x666F6C64

_COUNTS = """
WITH pieces AS (
    SELECT t.*
    FROM unnest(%(spans)s::text[], %(starts)s::timestamptz[], %(stops)s::timestamptz[]) AS cut (span, start, stop),
        LATERAL (
            SELECT at, kind, update_type, reason, bucket, n, extracted, stored, ms FROM monitoring_traffic
            WHERE span = cut.span AND at >= cut.start AND at < cut.stop AND (%(has_times)s OR kind <> 'time')
            -- Pulled up, the planner would expect a ninth of the table from each span, and read it whole.
            OFFSET 0
        ) AS t
    UNION ALL
    SELECT at, kind, update_type, reason, NULL, n, extracted, stored, 0 FROM monitoring_trafficdelta
    WHERE at >= %(first)s AND at < %(last)s
    UNION ALL
    SELECT at, 'time', '', '', bucket, n, 0, 0, ms FROM monitoring_trafficdelta
    WHERE at >= %(first)s AND at < %(last)s AND bucket IS NOT NULL
    UNION ALL
    SELECT received_at, state, update_type, reason, NULL, 1, has_names::int, has_changed_profile::int, 0
    FROM webhook_inbox WHERE received_at > %(since)s AND received_at < %(first)s AND state <> 'pending'
    UNION ALL
    SELECT received_at, 'time', '', '', monitoring_bucket(processing_ms), 1, 0, 0, processing_ms FROM webhook_inbox
    WHERE received_at > %(since)s AND received_at < %(first)s AND state <> 'pending' AND processing_ms IS NOT NULL
    UNION ALL
    SELECT received_at, 'repeat', update_type, '', NULL, 1, 0, 0, 0 FROM webhook_repeats
    WHERE received_at > %(since)s AND received_at < %(first)s
    UNION ALL
    SELECT received_at, state, update_type, '', NULL, 1, has_names::int, has_changed_profile::int, 0
    FROM webhook_inbox WHERE received_at > %(since)s AND received_at <= %(until)s AND state = 'pending'
)
SELECT date_bin(%(slot)s::interval, at, '2001-01-01 00:00 UTC'), kind, update_type, reason, bucket,
    sum(n)::bigint, sum(extracted)::bigint, sum(stored)::bigint, sum(ms)
FROM pieces WHERE %(has_times)s OR kind <> 'time' GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0
"""
_ROLL_UP = """
WITH moved AS (DELETE FROM monitoring_trafficdelta RETURNING *),
split AS (
    SELECT at, kind, update_type, reason, 0 AS bucket, n, extracted, stored, 0 AS ms FROM moved
    UNION ALL
    SELECT at, 'time', '', '', bucket, n, 0, 0, ms FROM moved WHERE bucket IS NOT NULL
)
INSERT INTO monitoring_traffic AS t (span, at, kind, update_type, reason, bucket, n, extracted, stored, ms)
SELECT span, date_bin(length, at, '2001-01-01 00:00 UTC'), kind, update_type, reason, bucket,
    sum(n), sum(extracted), sum(stored), sum(ms)
FROM split, (VALUES ('minute', interval '1 minute'), ('hour', '1 hour'), ('6hours', '6 hours'), ('day', '1 day'),
    ('week', '7 days')) AS spans (span, length)
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2
ON CONFLICT (span, at, kind, update_type, reason, bucket) DO UPDATE SET
    n = t.n + EXCLUDED.n, extracted = t.extracted + EXCLUDED.extracted, stored = t.stored + EXCLUDED.stored,
    ms = t.ms + EXCLUDED.ms
"""
# A release without the six hours folds up to the moment when its worker ends: each new process makes them once more.
_has_filled = threading.Event()
_FILL = f"""
INSERT INTO monitoring_traffic (span, at, kind, update_type, reason, bucket, n, extracted, stored, ms)
SELECT '{Span.SIX_HOURS}', date_bin('6 hours', at, '2001-01-01 00:00 UTC'), kind, update_type, reason, bucket,
    sum(n), sum(extracted), sum(stored), sum(ms)
FROM monitoring_traffic WHERE span = '{Span.HOUR}' GROUP BY 2, 3, 4, 5, 6
"""  # noqa: S608 (constants)


@dataclass(slots=True)
class Counts:
    """What came in a window. Times in milliseconds; ``since`` is where the window really starts."""

    since: datetime
    until: datetime
    states: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    extracted: int = 0
    stored: int = 0
    buckets: Counter[int] = field(default_factory=Counter)
    total_ms: float = 0.0

    @property
    def failed(self) -> int:
        return sum(self.states[state] for state in FAILED)

    @property
    def successful(self) -> int:
        return sum(self.states[state] for state in SUCCESSFUL)

    @property
    def average_ms(self) -> float:
        return self.total_ms / self.buckets.total() if self.buckets else 0.0

    def percentile(self, share: float) -> float:
        """Return the time that this share took at most, between two ranks as PostgreSQL does it; within 2.5 percent."""
        if not self.buckets:
            return 0.0
        rank = share * (self.buckets.total() - 1)
        low, high = self._at_rank(math.floor(rank)), self._at_rank(math.ceil(rank))
        return low + (high - low) * (rank - math.floor(rank))

    def _at_rank(self, rank: int) -> float:
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen > rank:
                break
        return float(GROWTH**bucket)

    def add(
        self, kind: str, update_type: str, reason: str, bucket: int, n: int, extracted: int, stored: int, ms: float
    ) -> None:
        """Count settled updates and repeats; types and reasons stay few, whatever the table holds."""
        if kind == "time":
            self.buckets[bucket] += n
            self.total_ms += ms
            return
        self.extracted += extracted
        self.stored += stored
        if kind == "repeat":
            self.repeats += n
            return
        self.states[kind] += n
        self.types[payloads.type_of({"update_type": update_type})] += n
        if kind in FAILED:
            self.reasons[reason] += n


def counts(since: datetime, until: datetime) -> Counts:
    """Count what was received after ``since`` and up to ``until``, as it stands now; the updates that wait included."""
    since, pieces = _pieces(since, until, tuple(KEPT))
    seen = Counts(since, until)
    for _slot, *piece in pieces:
        seen.add(*piece)
    # Without what a replay took back.
    seen.types, seen.reasons = +seen.types, _largest(+seen.reasons)
    return seen


def counts_by(span: Span, since: datetime, until: datetime) -> dict[datetime, Counts]:
    """Count the same by the hour or day (UTC) that it was received in: of the first and the last one only a part.

    Each of them is in the answer, the oldest first, by its start; together they are what ``counts`` returns, but for
    the times of processing.
    """
    since, pieces = _pieces(since, until, tuple(finer for finer in KEPT if LENGTHS[finer] <= LENGTHS[span]), span)
    start, found = start_of(since, span), {}
    while start <= until:
        found[start] = Counts(max(since, start), min(until, start + LENGTHS[span]))
        start += LENGTHS[span]
    for slot, *piece in pieces:
        found[slot].add(*piece)
    return found


def _pieces(
    since: datetime, until: datetime, spans: Sequence[Span], slot: Span | None = None
) -> tuple[datetime, list[tuple[Any, ...]]]:
    """Return where the window really starts, and its counts by slot; without one the slot is None."""
    first, last = _floor(since) + MINUTE, _floor(until) + MINUTE
    if since <= timezone.now() - settings.INBOX_EVENT_RETENTION + MINUTE:
        # The inbox is forgetting this minute: it counts as a whole, and the report says from when.
        first = since = _floor(since)
    cuts = (list(column) for column in zip(*spans_between(first, last, spans[::-1]), strict=True))
    window: dict[str, Any] = {"since": since, "first": first, "last": last, "until": until}
    window |= {"slot": slot and LENGTHS[slot], "has_times": slot is None}
    window |= zip(("spans", "starts", "stops"), cuts, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, window)
        return since, cursor.fetchall()


def _largest(reasons: Counter[str]) -> Counter[str]:
    kept = Counter(dict(reasons.most_common(LARGEST_REASONS)))
    if rest := reasons.total() - kept.total():
        kept[OTHER] += rest
    return kept


def spans_between(first: datetime, last: datetime, spans: Sequence[Span]) -> Iterator[tuple[Span, datetime, datetime]]:
    """Cut the time between two full minutes into as few rows as can be: weeks in the middle, minutes at both ends."""
    span, *finer = spans
    start, stop = (_up(first, span), start_of(last, span)) if finer else (first, last)
    if start < stop:
        yield from spans_between(first, start, finer) if finer else ()
        yield span, start, stop
        yield from spans_between(stop, last, finer) if finer else ()
    elif finer:
        yield from spans_between(first, last, finer)


def start_of(at: datetime, span: Span) -> datetime:
    """Return the start of the span (UTC) that a moment is in."""
    at = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if span == Span.HOUR:
        return at
    if span == Span.SIX_HOURS:
        return at.replace(hour=at.hour - at.hour % 6)
    return at.replace(hour=0) - timedelta(days=at.weekday() if span == Span.WEEK else 0)


def _up(at: datetime, span: Span) -> datetime:
    start = start_of(at, span)
    return start if start == at else start + LENGTHS[span]


def _floor(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


@transaction.atomic
def roll_up() -> None:
    """Add the deltas up and forget the minutes and hours that no window reaches any more."""
    with connection.cursor() as cursor:
        # Two at once would wait for each other's rows in different orders.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ROLLING_UP])
        cursor.execute(_ROLL_UP)
        if not _has_filled.is_set():
            Rollup.objects.filter(span=Span.SIX_HOURS).delete()
            cursor.execute(_FILL)
            transaction.on_commit(_has_filled.set)
    now = timezone.now()
    for span, age in KEPT.items():
        Rollup.objects.filter(span=span, at__lt=now - age).delete()
