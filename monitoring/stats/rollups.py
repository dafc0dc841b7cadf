"""Count the updates received in any time window, from rollups by minute, hour, six hours, day and week.

Triggers on the inbox write deltas, which roll_up() adds to the rollups. A window is split into whole weeks, days, hours
and so on; only pending updates and the part of a minute at the start of the window are counted from the inbox. Updates
that the system itself sends as probes do not count.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from config.lib import clock
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
# Minutes are retained for 31 days, because a window of 30 days may start at any minute.
RETENTION = {
    Span.MINUTE: timedelta(days=31),
    Span.HOUR: timedelta(days=33),
    Span.SIX_HOURS: timedelta(days=33),
    Span.DAY: timedelta(days=730),
    Span.WEEK: timedelta(days=730),
}
FAILED = (State.QUARANTINED, State.DEAD)
SUCCESSFUL = (State.DONE, State.SKIPPED)
LARGEST_REASONS = 20
# The ratio between consecutive buckets of processing times; the SQL function monitoring_bucket() uses the same one.
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
        AND request_id NOT LIKE 'synthetic-%%'
    UNION ALL
    SELECT received_at, 'time', '', '', monitoring_bucket(processing_ms), 1, 0, 0, processing_ms FROM webhook_inbox
    WHERE received_at > %(since)s AND received_at < %(first)s AND state <> 'pending' AND processing_ms IS NOT NULL
        AND request_id NOT LIKE 'synthetic-%%'
    UNION ALL
    SELECT received_at, 'repeat', update_type, '', NULL, 1, 0, 0, 0 FROM webhook_repeats AS r
    WHERE received_at > %(since)s AND received_at < %(first)s AND NOT EXISTS (
        SELECT FROM webhook_inbox AS i WHERE i.dedup_key = r.dedup_key AND i.request_id LIKE 'synthetic-%%'
    )
    UNION ALL
    SELECT received_at, state, update_type, '', NULL, 1, has_names::int, has_changed_profile::int, 0
    FROM webhook_inbox WHERE received_at > %(since)s AND received_at <= %(until)s AND state = 'pending'
        AND request_id NOT LIKE 'synthetic-%%'
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


@dataclass(slots=True)
class Counts:
    """The counts of the updates received in a window, and their processing times in milliseconds."""

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
        """Return a quantile of the processing time in ms, with an error of at most 2.5%; 0 if nothing was measured."""
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
        """Add one group of the rollup; update types that are unknown count as ``other``.

        ``kind`` is ``time`` (processing times), ``repeat`` (duplicate deliveries) or a state of updates.
        """
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
    """Count the updates received after ``since`` and up to ``until`` by their current state, pending ones included."""
    since, groups = _groups(since, until, tuple(RETENTION))
    total = Counts(since, until)
    for _slot, *group in groups:
        total.add(*group)
    # After a replay, a type or a reason may have a count of zero: remove these.
    total.types, reasons = +total.types, +total.reasons
    total.reasons = Counter(dict(reasons.most_common(LARGEST_REASONS)))
    if rest := reasons.total() - total.reasons.total():
        total.reasons[OTHER] += rest
    return total


def counts_by(span: Span, since: datetime, until: datetime) -> dict[datetime, Counts]:
    """Count the updates received after ``since`` and up to ``until``, by the span (UTC) in which they were received.

    Return the counts by the start of the span, oldest first, including empty spans. The window may contain only a part
    of the first and the last span. The counts add up to those of counts(), but do not include processing times.
    """
    spans = tuple(finer for finer in RETENTION if LENGTHS[finer] <= LENGTHS[span])
    since, groups = _groups(since, until, spans, span)
    start, slots = start_of(since, span), {}
    while start <= until:
        slots[start] = Counts(max(since, start), min(until, start + LENGTHS[span]))
        start += LENGTHS[span]
    for slot, *group in groups:
        slots[slot].add(*group)
    return slots


def _groups(
    since: datetime, until: datetime, spans: Sequence[Span], slot: Span | None = None
) -> tuple[datetime, list[tuple[Any, ...]]]:
    """Return the start of the window that was counted, and the rows of the query _COUNTS.

    If some updates of the minute that contains ``since`` may have been pruned from the inbox, the window begins at the
    start of this minute, and the minute's rollup is counted. The first column of a row is the start of the span of
    length ``slot``; it is None if no ``slot`` is given. ``spans`` are the rollups to use, shortest first.
    """
    first, last = (at.replace(second=0, microsecond=0) + MINUTE for at in (since, until))
    if since <= timezone.now() - settings.INBOX_EVENT_RETENTION + MINUTE:
        # A part of this minute may have been pruned from the inbox: count the whole minute, from the rollups.
        first = since = first - MINUTE
    # A window within one minute has no rollups: it is counted from the inbox.
    cuts = list(map(list, zip(*spans_between(first, last, spans[::-1]), strict=True))) or [[], [], []]
    params: dict[str, Any] = {"since": since, "first": first, "last": last, "until": until}
    params |= {"slot": slot and LENGTHS[slot], "has_times": slot is None}
    params |= zip(("spans", "starts", "stops"), cuts, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, params)
        return since, cursor.fetchall()


def spans_between(first: datetime, last: datetime, spans: Sequence[Span]) -> Iterator[tuple[Span, datetime, datetime]]:
    """Split the time from ``first`` to ``last``, both full minutes, into as few rollups as possible.

    Yield ranges in order of time, each as the span of its rollups, its start and its end. ``spans`` is sorted from the
    longest to the shortest.
    """
    span, *finer = spans
    start, stop = first, last
    if finer:
        start, stop = start_of(first, span), start_of(last, span)
        start += LENGTHS[span] if start < first else timedelta()
    if start < stop:
        yield from spans_between(first, start, finer) if finer else ()
        yield span, start, stop
        yield from spans_between(stop, last, finer) if finer else ()
    elif finer:
        yield from spans_between(first, last, finer)


def start_of(at: datetime, span: Span) -> datetime:
    """Return the start of the minute, hour, six hours, day or week (UTC) that contains ``at``."""
    at = at.astimezone(UTC).replace(second=0, microsecond=0)
    if span == Span.MINUTE:
        return at
    at = at.replace(minute=0)
    if span == Span.HOUR:
        return at
    if span == Span.SIX_HOURS:
        return at.replace(hour=at.hour - at.hour % 6)
    return at.replace(hour=0) - timedelta(days=at.weekday() if span == Span.WEEK else 0)


@transaction.atomic
def roll_up() -> None:
    """Add the deltas to the rollups and delete them; delete the rollups that have exceeded their retention."""
    with connection.cursor() as cursor:
        # Two concurrent roll-ups would deadlock.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ROLLING_UP])
        cursor.execute(_ROLL_UP)
    for span, age in RETENTION.items():
        Rollup.objects.filter(clock.is_older("at", age), span=span).delete()
