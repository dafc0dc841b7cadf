"""Forgets what is old, a thousand rows a transaction: what waits is never touched, ages count from ``finished_at``."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
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
    """Forget what is due by the INBOX_ retentions, for RUN_SECONDS at most; return how many rows of each kind."""
    deadline = time.monotonic() + RUN_SECONDS
    event_limit = _ago(settings.INBOX_EVENT_RETENTION)
    return Pruned(
        bodies=_in_batches(bodies_before(_ago(settings.INBOX_BODY_RETENTION)), _empty, deadline),
        events=_in_batches(events_before(event_limit), _delete, deadline),
        dead_letters=_in_batches(dead_letters_before(_ago(settings.INBOX_DEAD_LETTER_RETENTION)), _delete, deadline),
        repeats=_in_batches(repeats_before(event_limit), _delete, deadline),
    )


def bodies_before(moment: datetime) -> QuerySet[InboxUpdate]:
    """Return the finished updates whose body is due; a dead letter keeps its own, or nobody could replay it."""
    return events_before(moment).filter(body__isnull=False)


def events_before(moment: datetime) -> QuerySet[InboxUpdate]:
    return InboxUpdate.objects.filter(state__in=SETTLED, finished_at__lt=moment).order_by("finished_at")


def dead_letters_before(moment: datetime) -> QuerySet[InboxUpdate]:
    return InboxUpdate.objects.filter(state=State.DEAD, finished_at__lt=moment).order_by("finished_at")


def repeats_before(moment: datetime) -> QuerySet[DuplicateDelivery]:
    return DuplicateDelivery.objects.filter(received_at__lt=moment).order_by("received_at")


def _ago(age: timedelta) -> datetime:
    return timezone.now() - age


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


def _empty(updates: QuerySet[Any]) -> None:
    updates.update(body=None)


def _delete(rows: QuerySet[Any]) -> None:
    rows.delete()
