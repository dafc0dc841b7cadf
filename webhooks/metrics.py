"""Metrics of updates: their number by type and result, and how long it took to process them.

All unknown types count as ``other``.
"""

from collections import Counter as Counts
from collections.abc import Iterable, Sequence

from prometheus_client import Counter, Histogram

from webhooks.models import InboxUpdate, State

events = Counter("webhook_events", "Updates by type and result", ["type", "status"])
durations = Histogram(
    "webhook_processing_duration_seconds",
    "Processing time of an update in the inbox worker",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5),
)
lags = Histogram(
    "webhook_inbox_wait_seconds",
    "Time from receipt of an update to the commit of its result",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300, 3600),
)
_STATUSES = {State.DONE: "success", State.SKIPPED: "skipped", State.QUARANTINED: "failed", State.DEAD: "failed"}


def count(updates: Sequence[InboxUpdate], ended_at: float) -> None:
    """Record the results and times of a batch; ``ended_at`` is the time of its commit, in seconds since the epoch."""
    for (update_type, state), number in Counts((update.update_type, update.state) for update in updates).items():
        events.labels(update_type, _STATUSES[State(state)]).inc(number)
    for update in updates:
        durations.observe((update.processing_ms or 0.0) / 1000)
        lags.observe(max(ended_at - update.received_at.timestamp(), 0.0))


def count_arrivals(types: Iterable[str], status: str) -> None:
    """Count updates of the given types under ``status``, which is ``failed`` or ``duplicate``."""
    for update_type, number in Counts(types).items():
        events.labels(update_type, status).inc(number)
