"""Turns the inbox into profiles: takes a batch, merges it by one statement, writes Redis, marks the batch done.

All of it in one transaction: a worker that dies leaves its batch pending, and the merge rule makes doing it again
harmless. A batch that fails is done again one by one, so that one poison update holds up nobody.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

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
    """Work off what is due; return how many updates were finished. Nothing is touched while processing is off.

    ``is_stopping`` is asked between two batches: a backlog may last for minutes.
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
                raise  # None was even taken: no update is to blame here either.
            # Whatever an update does to us, it must end as a dead letter with its traceback and not hold up the rest.
            singly = len(batch.updates) if len(batch.updates) > 1 else singly - 1
            batch.blame(error)
            continue
        if not batch.updates:
            break
        finished += len(batch.updates)
        singly = max(singly - 1, 0)
    return finished


class Batch:
    """Up to ``limit`` updates that are due, worked on in one transaction."""

    def __init__(self, limit: int = BATCH) -> None:
        self.limit = limit
        self.updates: list[InboxUpdate] = []
        self.extracted: list[tuple[InboxUpdate, ProfileUpdate]] = []

    def process(self) -> None:
        """Work the batch off, and tell what was extracted once it is committed."""
        with transaction.atomic():
            self._work_off()
        metrics.count(self.updates, time.time())
        for update, profile_update in self.extracted:
            logger.info("profile extracted", extra=_extracted(update, profile_update))

    def _work_off(self) -> None:
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

    def blame(self, error: Exception) -> None:
        """Record a failed try of an update that failed alone."""
        if len(self.updates) == 1:
            record_failure(self.updates[0], error)

    def _collect(self) -> None:
        readings = [(update, interpret(update)) for update in self.updates]
        links = [reading.phone_link for _, reading in readings if reading.phone_link]
        self.extracted = [(update, reading.profile_update) for update, reading in readings if reading.profile_update]
        profile_updates = [profile_update for _, profile_update in self.extracted]
        PhoneLink.objects.merge(links)
        changed = Profile.objects.merge(profile_updates)
        changed_ids = {profile.user_id for profile in changed}
        for update, reading in readings:
            update.has_changed_profile = reading.profile_update is not None and reading.user_id in changed_ids
        cache.write_through(changed)


def interpret(update: InboxUpdate) -> payloads.Reading:
    """Read one update and set its state; one without a person is done like any other."""
    try:
        reading = payloads.read(payloads.parse_stored(bytes(update.body or b"")), update.received_at)
    except payloads.MalformedUpdate as error:
        update.state, update.reason = State.QUARANTINED, str(error)
        return payloads.Reading("")
    update.state, update.reason, update.user_id = State.DONE, "", reading.user_id
    update.has_names = reading.profile_update is not None
    return reading


def record_failure(update: InboxUpdate, error: Exception) -> None:
    """Count a failed try: the next one comes later each time, with jitter; after the last the update is dead."""
    tries = update.tries + 1
    logger.error(
        "webhook update failed",
        extra={
            "event": "update_failed",
            "update": update.pk,
            "error": type(error).__name__,
            "tries": tries,
            "request_id": update.request_id,
        },
    )
    same_try = InboxUpdate.objects.pending().filter(pk=update.pk, tries=update.tries)
    trace = logs.error_text(error)[-_TRACEBACK_LENGTH:].replace("\0", "")
    if update.tries < len(RETRY_SECONDS):
        wait = timedelta(seconds=RETRY_SECONDS[update.tries] * random.uniform(0.9, 1.1))  # noqa: S311 (jitter)
        same_try.update(tries=tries, next_try_at=timezone.now() + wait, error=trace)
    else:
        metrics.count_arrivals([update.update_type], "failed")
        same_try.update(
            state=State.DEAD, reason=type(error).__name__, error=trace, tries=tries, finished_at=timezone.now()
        )


def _extracted(update: InboxUpdate, profile_update: ProfileUpdate) -> dict[str, Any]:
    return {
        "component": "webhook_handler",
        "event": "profile_extracted",
        "user_id": profile_update.user_id,
        "has_first_name": profile_update.first_name is not None,
        "has_last_name": bool(profile_update.last_name and profile_update.last_name.value),
        "source": "user_input" if profile_update.user_provided_name else "webhook",
        "processing_time_ms": round(update.processing_ms or 0, 3),
        "request_id": update.request_id,
    }
