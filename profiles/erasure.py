"""Erases a person everywhere: the stores of this app here, those of the apps above by their own receivers.

First the tombstone, committed: from then on no update, replay or repeat brings the person back. A minute later the task
goes over it once more, for what was under way meanwhile, what Redis refused, and what a crash left.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.db.models import Q
from django.dispatch import Signal
from django.utils import timezone

from profiles import cache
from profiles.comparison import hash_of as hash_of_phone
from profiles.models import Comparison, DirectAnswer, PhoneLink, Profile, WaitingComparison
from profiles.models.tombstones import Erasure, Tombstone, hash_of

# Longer than a request may take that has read the profile before it was gone.
ONCE_MORE_AFTER = timedelta(minutes=1)
logger = logging.getLogger(__name__)

# Sent with ``person`` inside the transaction. A receiver erases what its app keeps, adds to ``person.phones`` those it
# knows, counts by table in ``person.erased``, and sets ``person.is_incomplete`` when it has to be asked again.
person_erased = Signal()


@dataclass
class Person:
    """Who is erased. ``erased_at`` is None at first; the second pass takes only what is older than it."""

    user_id: str
    received_until: datetime
    erased_at: datetime | None = None
    phones: set[str] = field(default_factory=set)
    erased: Counter[str] = field(default_factory=Counter)
    is_incomplete: bool = False


def erase(user_id: str, *, by: str, reason: str) -> Counter[str]:
    """Erase the person and record it; return the rows by table. Doing it again is harmless."""
    stone = Tombstone.objects.create_for(user_id, _moment(user_id))
    with transaction.atomic():
        person = _erase(Person(user_id, stone.erased_at))
        _forget_cached(person)
        Erasure.objects.create(by=by, reason=reason, person=stone.key, counts=dict(person.erased))
    logger.info("person erased", extra={"event": "person_erased", "rows": sum(person.erased.values())})
    return person.erased


def preview(user_id: str) -> Counter[str]:
    """Count by table what would be erased."""
    with transaction.atomic():
        person = _erase(Person(user_id, timezone.now()))
        transaction.set_rollback(True)
    return person.erased


def finish_erasures() -> int:
    """Go once more over those erased a minute ago and not finished; return how many are finished now."""
    due = Tombstone.objects.filter(erased_at__lte=timezone.now() - ONCE_MORE_AFTER).exclude(unfinished_id="")
    return sum(_finish(stone) for stone in due)


@transaction.atomic
def _finish(stone: Tombstone) -> bool:
    person = _erase(Person(stone.unfinished_id, stone.erased_at, erased_at=stone.erased_at))
    _forget_cached(person)
    if person.is_incomplete:
        return False
    # Unless they were erased anew meanwhile: that has a second pass of its own.
    return bool(Tombstone.objects.filter(pk=stone.pk, erased_at=stone.erased_at).update(unfinished_id=""))


def _moment(user_id: str) -> datetime:
    """Return now, or the latest that the person is said to have said: a messenger's clock may be ahead of ours."""
    profile = Profile.objects.filter(pk=user_id).first()
    clocks = [profile.first_name_set_at, profile.last_name_set_at, profile.user_provided_name_set_at] if profile else []
    return max([timezone.now(), *filter(None, clocks)])


def _erase(person: Person) -> Person:
    links = PhoneLink.objects.filter(user_id=person.user_id)
    answers = DirectAnswer.objects.filter(user_id=person.user_id)
    for rows in (links, answers):
        person.phones |= set(rows.values_list("phone", flat=True))
    person_erased.send(sender=Person, person=person)
    # What the lock let pass after the tombstone is later than it, and stays.
    if person.erased_at is None:
        person.erased["profile_cache"] += Profile.objects.filter(pk=person.user_id).delete()[0]
        person.erased["phone_links"] += links.delete()[0]
    theirs = Q(phone__in=person.phones)
    person.erased["direct_answers"] += DirectAnswer.objects.filter(theirs | Q(user_id=person.user_id)).delete()[0]
    logged = LogEntry.objects.filter(content_type__app_label="profiles").filter(
        Q(object_id=person.user_id) | Q(object_repr=person.user_id)
    )
    person.erased["django_admin_log"] += logged.update(object_id=None, object_repr=hash_of(person.user_id)[:12])
    waiting = WaitingComparison.objects.filter(theirs | Q(max_id=person.user_id))
    person.erased["comparisons_waiting"] += waiting.delete()[0]
    compared = Comparison.objects.filter(key_hash__in=map(hash_of_phone, person.phones))
    masked = compared.exclude(cache_name="", api_name="")
    person.erased["comparisons"] += masked.update(cache_name="", api_name="")
    return person


def _forget_cached(person: Person) -> None:
    """Delete the entry in Redis; where Redis does not answer, the second pass does it."""
    try:
        cache.forget(person.user_id)
    except cache.CacheError as error:
        person.is_incomplete = True
        logger.warning("erased person still in Redis", extra={"event": "erasure_postponed", "error": str(error)})
