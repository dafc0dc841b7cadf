"""Turns the inbox into profiles: takes a batch, merges it by one statement, writes Redis, marks the batch done.

All of it in one transaction: a worker that dies leaves its batch pending, and the merge rule makes doing it again
harmless.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.db import transaction

from profiles import cache
from profiles.models import Profile
from profiles.rollout.decision import is_collecting, is_processing
from profiles.sightings import Sighting
from webhooks import updates
from webhooks.models import InboxUpdate, State

logger = logging.getLogger(__name__)

BATCH = 500


def process_inbox() -> int:
    """Work off the inbox; return how many updates were finished. Nothing is touched while processing is off."""
    finished = 0
    while is_processing() and (batch := process_batch()):
        finished += batch
    return finished


@transaction.atomic
def process_batch(limit: int = BATCH) -> int:
    """Finish up to ``limit`` pending updates; return how many."""
    started = time.perf_counter()
    batch = InboxUpdate.objects.take(limit)
    if not batch:
        return 0
    if is_collecting():
        _collect(batch)
    else:
        for update in batch:
            update.state = State.SKIPPED
    per_update_ms = (time.perf_counter() - started) * 1000 / len(batch)
    for update in batch:
        update.processing_ms = per_update_ms
    InboxUpdate.objects.finish(batch)
    return len(batch)


def _collect(batch: list[InboxUpdate]) -> None:
    sightings = [sighting for update in batch if (sighting := _read(update))]
    changed = Profile.objects.absorb(sightings)
    changed_ids = {profile.user_id for profile in changed}
    for update in batch:
        update.has_changed_profile = update.has_names and update.user_id in changed_ids
    cache.write_through(changed)


def _read(update: InboxUpdate) -> Sighting | None:
    """Interpret one update and set its state; an update without a person is done like any other."""
    try:
        reading = updates.read(updates.parse(bytes(update.body or b"")), update.received_at)
    except updates.MalformedUpdate as error:
        update.state, update.reason = State.QUARANTINED, str(error)
        return None
    update.state, update.user_id = State.DONE, reading.user_id
    update.has_names = reading.sighting is not None
    if reading.sighting:
        logger.info("profile extracted", extra=_extracted(reading.sighting))
    return reading.sighting


def _extracted(sighting: Sighting) -> dict[str, Any]:
    return {
        "component": "webhook_handler",
        "event": "profile_extracted",
        "user_id": sighting.user_id,
        "has_first_name": sighting.first_name is not None,
        "has_last_name": bool(sighting.last_name and sighting.last_name.value),
        "source": "user_input" if sighting.user_provided_name else "webhook",
    }
