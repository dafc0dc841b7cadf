"""Delete what is old, a thousand rows a transaction. Pending updates are never deleted; ages count from the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
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
    """Delete what the INBOX_ settings no longer retain, for RUN_SECONDS at most; return how many rows of each kind."""
    now, deadline = timezone.now(), time.monotonic() + RUN_SECONDS
    bodies = bodies_before(now - settings.INBOX_BODY_RETENTION)
    events = events_before(now - settings.INBOX_EVENT_RETENTION)
    dead_letters = dead_letters_before(now - settings.INBOX_DEAD_LETTER_RETENTION)
    duplicates = duplicates_before(now - settings.INBOX_EVENT_RETENTION)
    return Pruned(
        bodies=_in_batches(bodies, lambda updates: updates.update(body=None), deadline),
        events=_in_batches(events, QuerySet.delete, deadline),
        dead_letters=_in_batches(dead_letters, QuerySet.delete, deadline),
        repeats=_in_batches(duplicates, QuerySet.delete, deadline),
    )


def bodies_before(moment: datetime) -> QuerySet[InboxUpdate]:
    """Return the settled updates whose body is due; a dead letter keeps its body, so that it can be replayed."""
    return events_before(moment).filter(body__isnull=False)


def events_before(moment: datetime) -> QuerySet[InboxUpdate]:
    return InboxUpdate.objects.filter(state__in=SETTLED, finished_at__lt=moment).order_by("finished_at")


def dead_letters_before(moment: datetime) -> QuerySet[InboxUpdate]:
    return InboxUpdate.objects.filter(state=State.DEAD, finished_at__lt=moment).order_by("finished_at")


def duplicates_before(moment: datetime) -> QuerySet[DuplicateDelivery]:
    return DuplicateDelivery.objects.filter(received_at__lt=moment).order_by("received_at")


def _in_batches(due: QuerySet[Any], act: Callable[[QuerySet[Any]], object], deadline: float) -> int:
    total = 0
    while True:
        with transaction.atomic():
            # Locked, so that a replay at this moment does not lose what it has just put back into the queue.
            batch = list(due.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
            act(due.filter(pk__in=batch))
        total += len(batch)
        if len(batch) < BATCH or time.monotonic() > deadline:
            return total
