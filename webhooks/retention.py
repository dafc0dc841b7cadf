"""Delete what is old, a thousand rows a transaction. Pending updates are never deleted; ages count from the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from webhooks.models import DuplicateDelivery, InboxUpdate, State

BATCH = 1000
# Bounds a run, so that the worker's other tasks, which refill the cache, get their turn; the next run goes on.
RUN_SECONDS = 20.0

SETTLED = (State.DONE, State.SKIPPED, State.QUARANTINED)


class Pruned(NamedTuple):
    bodies: int
    events: int
    dead_letters: int
    repeats: int


def prune() -> Pruned:
    """Delete what is due, for RUN_SECONDS at most; return how many rows of each kind."""
    deadline = time.monotonic() + RUN_SECONDS
    rows = due()
    return Pruned(
        bodies=_in_batches(rows["bodies"], lambda updates: updates.update(body=None), deadline),
        events=_in_batches(rows["events"], QuerySet.delete, deadline),
        dead_letters=_in_batches(rows["dead_letters"], QuerySet.delete, deadline),
        repeats=_in_batches(rows["repeats"], QuerySet.delete, deadline),
    )


def due() -> dict[str, QuerySet[Any]]:
    """Return the rows that the INBOX_ settings no longer retain. A dead letter keeps its body for a replay."""
    now = timezone.now()
    settled = InboxUpdate.objects.filter(state__in=SETTLED).order_by("finished_at")
    dead = InboxUpdate.objects.filter(state=State.DEAD).order_by("finished_at")
    duplicates = DuplicateDelivery.objects.order_by("received_at")
    return {
        "bodies": settled.filter(finished_at__lt=now - settings.INBOX_BODY_RETENTION, body__isnull=False),
        "events": settled.filter(finished_at__lt=now - settings.INBOX_EVENT_RETENTION),
        "dead_letters": dead.filter(finished_at__lt=now - settings.INBOX_DEAD_LETTER_RETENTION),
        "repeats": duplicates.filter(received_at__lt=now - settings.INBOX_EVENT_RETENTION),
    }


def _in_batches(rows: QuerySet[Any], act: Callable[[QuerySet[Any]], object], deadline: float) -> int:
    total = 0
    while True:
        with transaction.atomic():
            # Locked, so that a replay at this moment does not lose what it has just put back into the queue.
            batch = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
            act(rows.filter(pk__in=batch))
        total += len(batch)
        if len(batch) < BATCH or time.monotonic() > deadline:
            return total
