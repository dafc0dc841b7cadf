"""Turn the inbox into profiles: take a batch, merge it with one statement, write Redis, mark the batch done.

All of it happens in one transaction. A worker that dies leaves its batch pending, and the merge rule makes a second try
harmless. The updates of a failed batch are retried one by one, so that one poison update does not hold up the rest.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from config.lib import logs
from profiles import cache
from profiles.merge import ProfileUpdate
from profiles.models import PhoneLink, Profile
from profiles.rollout.decision import is_collecting, is_processing
from webhooks import metrics, payloads
from webhooks.models import InboxUpdate, State

logger = logging.getLogger(__name__)

BATCH = 500
RETRY_SECONDS = (1, 5, 25, 120, 600)
_TRACEBACK_LENGTH = 8 * 1024


def process_inbox(is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Process the updates that are due, none while processing is off; return how many were finished.

    ``is_stopping`` is checked between two batches, because a backlog may take minutes.
    """
    finished = singly = 0
    while not is_stopping() and is_processing():
        batch = Batch(1 if singly else BATCH)
        try:
            batch.process()
        except (OperationalError, InterfaceError):
            raise  # The database is away: no update is to blame.
        except Exception as error:
            if not batch.updates:
                raise  # No update was taken, so none is to blame.
            # Whatever an update does to us, it must end as a dead letter with its traceback and not hold up the rest.
            if len(batch.updates) == 1:
                record_failure(batch.updates[0], error)
                singly = max(singly - 1, 0)
            else:
                singly = len(batch.updates)
            continue
        if not batch.updates:
            break
        finished += len(batch.updates)
        singly = max(singly - 1, 0)
    return finished


class Batch:
    """Up to ``limit`` updates that are due, processed in one transaction."""

    def __init__(self, limit: int = BATCH) -> None:
        self.limit = limit
        self.updates: list[InboxUpdate] = []
        self.extracted: list[tuple[InboxUpdate, ProfileUpdate]] = []

    def process(self) -> None:
        """Process the batch; count it and log the extracted profiles once it is committed."""
        with transaction.atomic():
            started = time.perf_counter()
            self.updates = InboxUpdate.objects.take(self.limit)
            if not self.updates:
                return
            if is_collecting():
                self._collect()
            else:
                for update in self.updates:
                    update.state = State.SKIPPED
            each_ms = (time.perf_counter() - started) * 1000 / len(self.updates)
            for update in self.updates:
                update.processing_ms = each_ms
            InboxUpdate.objects.finish(self.updates)
        metrics.count(self.updates, time.time())
        for update, profile_update in self.extracted:
            extra = {
                "component": "webhook_handler",
                "event": "profile_extracted",
                "user_id": profile_update.user_id,
                "has_first_name": profile_update.first_name is not None,
                "has_last_name": bool(profile_update.last_name and profile_update.last_name.value),
                "source": "user_input" if profile_update.user_provided_name else "webhook",
                "processing_time_ms": round(update.processing_ms or 0, 3),
                "request_id": update.request_id,
            }
            logger.info("profile extracted", extra=extra)

    def _collect(self) -> None:
        readings = [(update, interpret(update)) for update in self.updates]
        self.extracted = [(update, reading.profile_update) for update, reading in readings if reading.profile_update]
        PhoneLink.objects.merge([reading.phone_link for _, reading in readings if reading.phone_link])
        changed = Profile.objects.merge([profile_update for _, profile_update in self.extracted])
        changed_ids = {profile.user_id for profile in changed}
        for update, reading in readings:
            update.has_changed_profile = reading.profile_update is not None and reading.user_id in changed_ids
        cache.write_through(changed)


def interpret(update: InboxUpdate) -> payloads.Reading:
    """Read one update and set its state; an update without a person is done like any other."""
    try:
        reading = payloads.read(payloads.parse_stored(bytes(update.body or b"")), update.received_at)
    except payloads.MalformedUpdate as error:
        update.state, update.reason = State.QUARANTINED, str(error)
        return payloads.Reading("")
    update.state, update.reason, update.user_id = State.DONE, "", reading.user_id
    update.has_names = reading.profile_update is not None
    return reading


def record_failure(update: InboxUpdate, error: Exception) -> None:
    """Record a failed try and schedule the next one, later each time, with jitter; after the last it is dead."""
    tries, name = update.tries + 1, type(error).__name__
    extra = {"event": "update_failed", "update": update.pk, "error": name, "tries": tries}
    logger.error("webhook update failed", extra=extra | {"request_id": update.request_id})
    same_try = InboxUpdate.objects.pending().filter(pk=update.pk, tries=update.tries)
    trace = logs.error_text(error)[-_TRACEBACK_LENGTH:].replace("\0", "")
    if update.tries < len(RETRY_SECONDS):
        wait = timedelta(seconds=RETRY_SECONDS[update.tries] * random.uniform(0.9, 1.1))  # noqa: S311 (jitter)
        same_try.update(tries=tries, next_try_at=timezone.now() + wait, error=trace)
    else:
        metrics.count_arrivals([update.update_type], "failed")
        same_try.update(state=State.DEAD, reason=name, error=trace, tries=tries, finished_at=timezone.now())
