"""Erasure of a person: this module clears this app's tables and Redis; signal receivers clear other apps' tables.

The tombstone is committed first: from then on, no older update and no replay can restore the person. A minute later, a
task makes a second pass. It erases what the first pass has missed: data that was being written at that time, data that
Redis failed to delete or a crash left behind, and data for which there was no time. If the first pass was interrupted,
the task repeats it, but keeps the names that were received after the erasure.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import OperationalError, connection, transaction
from django.db.models import Q, QuerySet
from django.dispatch import Signal
from psycopg.errors import DeadlockDetected

from config.lib import clock
from config.postgres import locks
from profiles import cache
from profiles.models import Comparison, DirectAnswer, Erasure, PhoneLink, Profile, Tombstone, WaitingComparison
from profiles.personal_data import Person, rows_of

# Longer than any request takes: a request in progress may have read the profile before the erasure.
SECOND_PASS_AFTER = timedelta(minutes=1)
# A batch of the inbox locks updates before profiles, and an erasure locks profiles before updates. In a deadlock,
# PostgreSQL ends one of the two.
_DEADLOCKS = 2
# Limits a run of the task, so that it does not delay the task worker's other tasks. The next run continues.
_RUN_SECONDS = 4.0
# Each pass holds this lock with a hash of the tombstone's key, so that a person's two passes never run at once.
_LOCK = 0xE7A5E
_AWAIT_LOCK = "SELECT pg_advisory_xact_lock(%s, hashtext(%s))"
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))"
# In English, as all reasons that the app itself gives.
INTERRUPTED = "completes an erasure that was interrupted"
logger = logging.getLogger(__name__)

# A receiver returns the latest time of receipt that its app has stored, or None.
latest_receipt = Signal()
# Sent with ``person`` inside the transaction. A receiver erases its app's data, adds the phones it finds to
# ``person.phones``, adds row counts to ``person.erased``, and sets ``person.is_incomplete`` to request another pass, or
# ``person.is_partial`` if it had no time for all that is stored.
person_erased = Signal()


@dataclass(kw_only=True)
class ErasedPerson(Person):
    """The person to erase, and what the current pass has found and erased.

    ``erased_at`` is None in the first pass. In later passes, it is the time of the erasure, and only names from before
    that time are erased. ``is_first`` is True until a pass has been completed. Names without a time, such as those
    entered by hand, are erased only while ``is_first`` is True: any that exist later were entered after the erasure.
    ``progress`` states where the previous pass stopped searching large tables.
    """

    received_until: datetime
    progress: dict[str, Any] = field(default_factory=dict)
    erased_at: datetime | None = None
    is_first: bool = True
    erased: Counter[str] = field(default_factory=Counter)
    is_incomplete: bool = False
    is_partial: bool = False


def erase(user_id: str, *, by: str, reason: str) -> ErasedPerson:
    """Erase the person, write an audit row, and return the result of the first pass; a repeated call does no harm.

    Raise CommitNotConfirmed if the person is erased, but a synchronous standby has not confirmed it in time.
    """
    tombstone = Tombstone.objects.create_for(user_id, _time_of_erasure(Person(user_id)))
    for _ in range(_DEADLOCKS):
        try:
            return _erase_and_record(tombstone, by, reason)
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
    return _erase_and_record(tombstone, by, reason)


@transaction.atomic
def _erase_and_record(tombstone: Tombstone, by: str, reason: str) -> ErasedPerson:
    locks.limit_commit()
    with connection.cursor() as cursor:
        cursor.execute(_AWAIT_LOCK, [_LOCK, tombstone.key])
    person = _erase(ErasedPerson(tombstone.unfinished_id, received_until=tombstone.erased_at))
    if not _forget_cached(person):
        cache.wait_for_leases()
    Erasure.objects.create(by=by, reason=reason, person=tombstone.key, counts=dict(person.erased))
    _current(tombstone).update(progress=person.progress)
    logger.info("person erased", extra={"event": "person_erased", "rows": sum(person.erased.values())})
    return person


def _time_of_erasure(person: Person) -> datetime:
    """Return a time for the erasure: no earlier than any data to erase, and later than the person's previous erasure.

    The current time may be too early: MAX's clock may be minutes ahead, or PostgreSQL's clock may have been set back.
    """
    times: list[datetime] = [clock.of_database()]
    times += [time for profile in rows_of(Profile, person) for time in profile.set_at]
    times += rows_of(PhoneLink, person).values_list("observed_at", flat=True)
    times += [at + timedelta(microseconds=1) for at in rows_of(Tombstone, person).values_list("erased_at", flat=True)]
    received: list[Any] = [at for _, at in latest_receipt.send(sender=Person) if at is not None]
    latest: datetime = max([*times, *received])
    return latest


def preview(user_id: str) -> Counter[str]:
    """Return the number of rows that an erasure would affect, by table, without erasing them."""
    with transaction.atomic():
        person = _erase(ErasedPerson(user_id, received_until=_time_of_erasure(Person(user_id))))
        transaction.set_rollback(True)
    return person.erased


def finish_erasures() -> int:
    """Run the second pass of each erasure that is due; return the number of erasures completed."""
    # If the time of an erasure is in the future, a clock was ahead: its second pass must not wait until that time.
    now = clock.of_database()
    is_due = Q(erased_at__lte=now - SECOND_PASS_AFTER) | Q(erased_at__gt=now)
    due = Tombstone.objects.filter(is_due).exclude(unfinished_id="")
    finished, ends_at = 0, time.monotonic() + _RUN_SECONDS
    for tombstone in due.order_by("erased_at"):
        if time.monotonic() > ends_at:
            break
        try:
            finished += _finish(tombstone)
        except OperationalError as error:
            # The cause may be a lock, for example: the other erasures must not wait for it.
            extra = {"event": "erasure_postponed", "error": str(error).partition("\n")[0]}
            logger.warning("second pass of an erasure failed", extra=extra)
    return finished


@transaction.atomic
def _finish(tombstone: Tombstone) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_TRY_LOCK, [_LOCK, tombstone.key])
        if cursor.fetchone() == (False,):
            return False
    # A pass may have ended since the row was read.
    unfinished = _current(tombstone).exclude(unfinished_id="").first()
    if unfinished is None:
        return False
    tombstone, until = unfinished, unfinished.erased_at
    person = ErasedPerson(tombstone.unfinished_id, received_until=until, erased_at=until, progress=tombstone.progress)
    # A pass stores its progress when it is committed. Without progress, the first pass was interrupted.
    person.is_first = not tombstone.progress
    _erase(person)
    _forget_cached(person)
    if person.is_first:
        Erasure.objects.create(by="", reason=INTERRUPTED, person=tombstone.key, counts=dict(person.erased))
    is_early = until > clock.of_database() - SECOND_PASS_AFTER
    if is_early or person.is_incomplete or person.is_partial:
        _current(tombstone).update(progress=person.progress)
        return False
    return bool(_current(tombstone).update(unfinished_id="", progress={}))


def _current(tombstone: Tombstone) -> QuerySet[Tombstone]:
    """Return a queryset with the tombstone's row; it is empty if a later erasure of the person has changed the row.

    Nothing is left to do then, because the later erasure has its own passes.
    """
    return Tombstone.objects.filter(pk=tombstone.pk, erased_at=tombstone.erased_at)


def _erase(person: ErasedPerson) -> ErasedPerson:
    # An earlier pass found these phones in links that it has deleted.
    person.phones |= set(person.progress.get("phones", ()))
    # The profile is deleted first: a transaction that copies its names into an employee holds the lock on its row, and
    # employees are erased next.
    links = rows_of(PhoneLink, person).filter(observed_at__lte=person.received_until)
    if person.erased_at is None:
        person.erased["profile_cache"] += rows_of(Profile, person).delete()[0]
    else:
        person.erased["profile_cache"] += _erase_older_names(rows_of(Profile, person), person.erased_at)
    for rows in (links, rows_of(DirectAnswer, person)):
        person.phones |= set(rows.values_list("phone", flat=True))
    person_erased.send(sender=Person, person=person)
    if person.is_partial:
        person.progress["phones"] = sorted(person.phones)
    else:
        person.progress.pop("phones", None)
    person.erased["phone_links"] += links.delete()[0]
    person.erased["direct_answers"] += rows_of(DirectAnswer, person).delete()[0]
    hashed = person.key[:12]
    logged = rows_of(LogEntry, person).filter(content_type__app_label="profiles").exclude(object_repr=hashed)
    person.erased["django_admin_log"] += logged.update(object_id=None, object_repr=hashed)
    person.erased["comparisons_waiting"] += rows_of(WaitingComparison, person).delete()[0]
    with_names = rows_of(Comparison, person).exclude(cache_name="", api_name="")
    person.erased["comparisons"] += with_names.update(cache_name="", api_name="")
    return person


def _erase_older_names(profiles: QuerySet[Profile], erased_at: datetime) -> int:
    """Erase names from before the erasure and delete profiles without names; return how many profiles changed."""
    changed = 0
    for name in ("first_name", "last_name", "user_provided_name"):
        older = profiles.filter(**{f"{name}_set_at__lte": erased_at})
        changed = max(changed, older.update(**{name: None, f"{name}_set_at": None}, is_cache_behind=True))
    nameless = Q(first_name__isnull=True, last_name__isnull=True, user_provided_name__isnull=True)
    profiles.filter(nameless).delete()
    return changed


def _forget_cached(person: ErasedPerson) -> bool:
    """Delete the person's entry from Redis and return True; if Redis fails, request another pass and return False."""
    try:
        cache.delete(person.user_id)
    except cache.CacheError as error:
        person.is_incomplete = True
        logger.warning("erased person still in Redis", extra={"event": "erasure_postponed", "error": str(error)})
        return False
    return True
