"""Delete old bodies, updates and duplicate deliveries, 1,000 rows per transaction.

Pending updates are never deleted. The age of an update counts from the end of its processing, by PostgreSQL's clock.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from config.lib import clock
from webhooks.models import DuplicateDelivery, InboxUpdate, State

BATCH = 1000
# The time limit of a run, so that it does not delay other tasks, such as refilling the cache. The next run continues.
RUN_SECONDS = 4.0

SETTLED = (State.DONE, State.SKIPPED, State.QUARANTINED)


class Pruned(NamedTuple):
    bodies: int
    events: int
    dead_letters: int
    repeats: int


def prune() -> Pruned:
    """Delete rows that are due, for about RUN_SECONDS at most; return the number of deleted rows of each kind."""
    deadline = time.monotonic() + RUN_SECONDS
    rows = due()
    return Pruned(
        bodies=_in_batches(rows["bodies"], lambda updates: updates.update(body=None), deadline),
        events=_in_batches(rows["events"], QuerySet.delete, deadline),
        dead_letters=_in_batches(rows["dead_letters"], QuerySet.delete, deadline),
        repeats=_in_batches(rows["repeats"], QuerySet.delete, deadline),
    )


def due() -> dict[str, QuerySet[Any]]:
    """Return, by kind, the rows that are older than the INBOX_…_RETENTION setting for their kind allows.

    The body of a dead letter is kept as long as the dead letter, so that it can be replayed.
    """
    older = clock.is_older
    settled = InboxUpdate.objects.filter(state__in=SETTLED).order_by("finished_at")
    dead = InboxUpdate.objects.filter(state=State.DEAD).order_by("finished_at")
    duplicates = DuplicateDelivery.objects.order_by("received_at")
    return {
        "bodies": settled.filter(older("finished_at", settings.INBOX_BODY_RETENTION), body__isnull=False),
        "events": settled.filter(older("finished_at", settings.INBOX_EVENT_RETENTION)),
        "dead_letters": dead.filter(older("finished_at", settings.INBOX_DEAD_LETTER_RETENTION)),
        "repeats": duplicates.filter(older("received_at", settings.INBOX_EVENT_RETENTION)),
    }


def _in_batches(rows: QuerySet[Any], act: Callable[[QuerySet[Any]], object], deadline: float) -> int:
    total = 0
    while True:
        with transaction.atomic():
            # Lock the rows, so that updates that are being replayed at the same time are not deleted.
            batch = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
            act(rows.filter(pk__in=batch))
        total += len(batch)
        if len(batch) < BATCH or time.monotonic() > deadline:
            return total
