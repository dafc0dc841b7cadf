"""Process the inbox in batches: merge the names into profiles, write the changed profiles to Redis, save the results.

Each batch is one transaction. If an inbox worker dies, its batch stays pending, and processing it again is harmless,
because merging the same names again changes nothing. After an unexpected error, the updates of the batch are retried
one by one, so that one faulty update does not block the others.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from config.lib import clock, logs, tracing
from config.postgres.base import statement_deadline, without_standby
from config.postgres.locks import is_lock_timeout
from profiles import cache
from profiles.merge import ProfileUpdate
from profiles.models import PhoneLink, Profile
from profiles.rollout.decision import RolloutState, current_state, is_collecting, is_processing
from webhooks import metrics, payloads
from webhooks.models import InboxUpdate, State

logger = logging.getLogger(__name__)

BATCH = 500
RETRY_SECONDS = (1, 5, 25, 120, 600)
# An update that waited for a lock is postponed by a share of its age, within these limits.
_LOCKED_SHARE, LOCKED_RETRY, LONGEST_LOCKED_RETRY = 0.5, timedelta(seconds=5), timedelta(minutes=1)
_TRACEBACK_LENGTH = 8 * 1024
# A deadline, because a session of PostgreSQL or a pooler may hang. A batch usually takes less than a second.
BATCH_SECONDS = 15.0
# MAX IDs of people for whose locked rows a batch may have waited in vain; the next batch does not wait for them.
_maybe_locked: set[str] = set()


@without_standby()
def process_inbox(
    is_stopping: Callable[[], bool] = lambda: False,
    *,
    newest: bool = False,
    when_behind: Callable[[], object] = lambda: None,
) -> int:
    """Process all updates that are due, unless processing is off; return the number of finished updates.

    Begin with the oldest update or, if ``newest``, the newest. Call ``when_behind()`` before each full batch, because
    more updates may be waiting. Stop after the current batch when ``is_stopping()`` returns true, because processing a
    backlog may take minutes. No commit waits for a synchronous standby: updates whose results a failover loses are
    processed again.

    Raise OperationalError or InterfaceError if the database is unavailable, or does not respond for BATCH_SECONDS.
    """
    finished = singly = 0
    is_repeated = False
    # One state applies to a whole batch, so that updates wait after an emergency stop, and are not skipped.
    while not is_stopping() and is_processing(state := _current_state()):
        updates: list[InboxUpdate] = []
        limit = 1 if singly else BATCH
        try:
            with statement_deadline(BATCH_SECONDS), transaction.atomic():
                updates = taken = InboxUpdate.objects.take(limit, newest=newest)
                if len(taken) == BATCH:
                    when_behind()
                updates = _postpone_locked(taken)
                extracted = _process(updates, is_collected=is_collecting(state)) if updates else []
        except Exception as error:
            if not _give_up(updates, error):
                raise
            # If somebody's rows are locked, the batch is repeated without that person's updates; if this fails too, the
            # updates are processed one by one.
            is_repeated = is_lock_timeout(error) and not is_repeated and len(updates) > 1
            if not is_repeated:
                singly = len(updates) if len(updates) > 1 else max(singly - 1, 0)
            continue
        is_repeated = False
        metrics.count(updates, time.time())
        if extracted:
            logger.info("profile extracted", extra={"line_each": [_log_fields(*each) for each in extracted]})
        finished += len(updates)
        singly = max(singly - 1, 0)
        if len(taken) < limit:
            break
    return finished


def _give_up(updates: list[InboxUpdate], error: Exception) -> bool:
    """Clean up after a failed batch; return False if the cause was the database and not an update.

    A lock held by another session counts as caused by an update. If the batch is one update, record its failed attempt.
    """
    _delete_uncommitted(updates)
    is_locked = is_lock_timeout(error)
    if not updates or (isinstance(error, OperationalError | InterfaceError) and not is_locked):
        return False
    if is_locked:
        _maybe_locked.update(update.user_id for update in updates)
    # Whatever the error, the update that causes it must become a dead letter and not block the others.
    if len(updates) == 1:
        with statement_deadline(BATCH_SECONDS):
            record_failure(updates[0], error)
    return True


def _current_state() -> RolloutState:
    with statement_deadline(BATCH_SECONDS):
        return current_state()


def _postpone_locked(updates: list[InboxUpdate]) -> list[InboxUpdate]:
    """Postpone the updates of people whose profiles or phones another session has locked; return the other updates.

    Only the locks of people in ``_maybe_locked`` are checked.
    """
    if not _maybe_locked:
        return updates
    readings = [(update, reading) for update in updates if (reading := interpret(update)).user_id in _maybe_locked]
    phones = {reading.user_id: reading.phone_link.phone for _, reading in readings if reading.phone_link}
    people = _locked_elsewhere(Profile.objects.filter(pk__in={reading.user_id for _, reading in readings}))
    locked_phones = _locked_elsewhere(PhoneLink.objects.filter(pk__in=phones.values()))
    people |= {user_id for user_id, phone in phones.items() if phone in locked_phones}
    _maybe_locked.difference_update({reading.user_id for _, reading in readings} - people)
    postponed = {update.pk for update, reading in readings if reading.user_id in people}
    _postpone([update for update in updates if update.pk in postponed])
    return [update for update in updates if update.pk not in postponed]


def _locked_elsewhere(rows: QuerySet[Any]) -> set[str]:
    """Return the keys of the rows that another session has locked; leave the other rows unlocked.

    The batch locks the other rows later, in the same order as every batch: all phones, then all profiles. If a
    profile stayed locked now, there could be a deadlock with a batch that has locked a phone and waits for the profile.
    """
    keys = rows.values_list("pk", flat=True)
    with transaction.atomic():
        free = set(keys.select_for_update(skip_locked=True, no_key=True))
        transaction.set_rollback(True)
    return set(keys) - free


def _postpone(updates: list[InboxUpdate]) -> None:
    for update in updates:
        pause = max(LOCKED_RETRY, min(clock.age(update.received_at) * _LOCKED_SHARE, LONGEST_LOCKED_RETRY))
        fields = {"tries": max(update.tries, 1), "next_try_at": timezone.now() + pause}
        InboxUpdate.objects.pending().filter(pk=update.pk).update(**fields)


def _delete_uncommitted(updates: list[InboxUpdate]) -> None:
    """Delete from Redis the profiles that a failed batch may have written, as PostgreSQL has not committed them."""
    with statement_deadline(BATCH_SECONDS):
        cache.delete_uncommitted([update.user_id for update in updates if update.user_id])


def _process(updates: list[InboxUpdate], *, is_collected: bool) -> list[tuple[InboxUpdate, ProfileUpdate]]:
    """Process a batch in the current transaction and save its results; return the updates that contain names."""
    with tracing.batch("process updates", updates, _span_attributes):
        return _merge(updates) if is_collected else _skip(updates)


def _span_attributes(update: InboxUpdate) -> dict[str, Any]:
    fields = ("state", "update_type", "has_names", "has_changed_profile", "tries")
    return {name: getattr(update, name) for name in fields}


def _merge(updates: list[InboxUpdate]) -> list[tuple[InboxUpdate, ProfileUpdate]]:
    started = time.perf_counter()
    readings = [(update, interpret(update)) for update in updates]
    extracted = [(update, reading.profile_update) for update, reading in readings if reading.profile_update]
    PhoneLink.objects.merge([reading.phone_link for _, reading in readings if reading.phone_link])
    changed = Profile.objects.merge([profile_update for _, profile_update in extracted])
    changed_ids = {profile.user_id for profile in changed}
    for update, reading in readings:
        update.has_changed_profile = reading.profile_update is not None and reading.user_id in changed_ids
    cache.write_through(changed)
    _finish(updates, started)
    return extracted


def _skip(updates: list[InboxUpdate]) -> list[tuple[InboxUpdate, ProfileUpdate]]:
    started = time.perf_counter()
    for update in updates:
        update.state = State.SKIPPED
    _finish(updates, started)
    return []


def _finish(updates: list[InboxUpdate], started: float) -> None:
    each_ms = (time.perf_counter() - started) * 1000 / len(updates)
    for update in updates:
        update.processing_ms = each_ms
    InboxUpdate.objects.finish(updates)


def _log_fields(update: InboxUpdate, profile_update: ProfileUpdate) -> dict[str, Any]:
    return {
        "component": "webhook_handler",
        "event": "profile_extracted",
        "user_id": profile_update.user_id,
        "has_first_name": profile_update.first_name is not None,
        "has_last_name": bool(profile_update.last_name and profile_update.last_name.value),
        "source": "user_input" if profile_update.user_provided_name else "webhook",
        "processing_time_ms": round(update.processing_ms or 0, 3),
        "request_id": update.request_id,
        **tracing.trace_id(update.request_id),
    }


def interpret(update: InboxUpdate) -> payloads.Reading:
    """Set the state of an update to done, or to quarantined if it is malformed; return the data extracted from it."""
    try:
        reading = payloads.read(payloads.parse_stored(bytes(update.body or b"")), update.time_of_receipt)
    except payloads.MalformedUpdate as error:
        update.state, update.reason = State.QUARANTINED, str(error)
        return payloads.Reading("")
    update.state, update.reason, update.user_id = State.DONE, "", reading.user_id
    update.has_names = reading.profile_update is not None
    return reading


def record_failure(update: InboxUpdate, error: Exception) -> None:
    """Record a failed attempt and schedule the next one, with increasing delays and jitter.

    RETRY_SECONDS are the delays. If the attempt after the last delay fails, the update becomes a dead letter. An update
    that waited too long for a lock is retried until the lock is free, however many attempts that takes.
    """
    if is_lock_timeout(error):
        logger.warning("webhook update postponed", extra={"event": "update_locked", "update": update.pk})
        _postpone([update])
        return
    tries, name = update.tries + 1, type(error).__name__
    extra = {"event": "update_failed", "update": update.pk, "error": name, "tries": tries}
    logger.error(
        "webhook update failed", extra=extra | {"request_id": update.request_id} | tracing.trace_id(update.request_id)
    )
    same_try = InboxUpdate.objects.pending().filter(pk=update.pk, tries=update.tries)
    trace = logs.error_text(error)[-_TRACEBACK_LENGTH:].replace("\0", "")
    if update.tries < len(RETRY_SECONDS):
        wait = timedelta(seconds=RETRY_SECONDS[update.tries] * random.uniform(0.9, 1.1))  # noqa: S311 (jitter)
        same_try.update(tries=tries, next_try_at=timezone.now() + wait, error=trace, user_id=update.user_id)
    else:
        metrics.count_arrivals([update.update_type], "failed")
        fields = {"state": State.DEAD, "reason": name, "finished_at": Now()}
        same_try.update(**fields, error=trace, tries=tries, user_id=update.user_id)
