"""Erases a person everywhere: this app's stores here, those of the apps above by their own receivers.

The tombstone comes first and is committed: from then on no update or replay brings the person back. A minute later a
task goes over everything again, for what was in flight, what Redis refused and what a crash left.
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
from profiles.models import Comparison, DirectAnswer, Erasure, PhoneLink, Profile, Tombstone, WaitingComparison
from profiles.models.tombstones import hash_of

# Longer than a request may take that read the profile before it was erased.
SECOND_PASS_AFTER = timedelta(minutes=1)
logger = logging.getLogger(__name__)

# Sent with ``person`` inside the transaction. A receiver erases its app's data, adds the phones it finds to
# ``person.phones``, counts rows by table in ``person.erased`` and sets ``person.is_incomplete`` to be called again.
person_erased = Signal()


@dataclass
class Person:
    """The person to erase. ``erased_at`` is None in the first pass; the second takes only data older than it."""

    user_id: str
    received_until: datetime
    erased_at: datetime | None = None
    phones: set[str] = field(default_factory=set)
    erased: Counter[str] = field(default_factory=Counter)
    is_incomplete: bool = False


def erase(user_id: str, *, by: str, reason: str) -> Counter[str]:
    """Erase the person, write the audit row and return the number of rows by table; repeating it does no harm."""
    profile = Profile.objects.filter(pk=user_id).first()
    times = [profile.first_name_set_at, profile.last_name_set_at, profile.user_provided_name_set_at] if profile else []
    # The messenger's clock may be ahead of ours.
    tombstone = Tombstone.objects.create_for(user_id, max([timezone.now(), *filter(None, times)]))
    with transaction.atomic():
        person = _erase(Person(user_id, tombstone.erased_at))
        _forget_cached(person)
        Erasure.objects.create(by=by, reason=reason, person=tombstone.key, counts=dict(person.erased))
    logger.info("person erased", extra={"event": "person_erased", "rows": sum(person.erased.values())})
    return person.erased


def preview(user_id: str) -> Counter[str]:
    """Return the number of rows by table that an erasure would affect."""
    with transaction.atomic():
        person = _erase(Person(user_id, timezone.now()))
        transaction.set_rollback(True)
    return person.erased


def finish_erasures() -> int:
    """Run the second pass where it is due; return how many erasures it completed."""
    due = Tombstone.objects.filter(erased_at__lte=timezone.now() - SECOND_PASS_AFTER).exclude(unfinished_id="")
    return sum(_finish(tombstone) for tombstone in due)


@transaction.atomic
def _finish(tombstone: Tombstone) -> bool:
    person = _erase(Person(tombstone.unfinished_id, tombstone.erased_at, erased_at=tombstone.erased_at))
    _forget_cached(person)
    if person.is_incomplete:
        return False
    # A person who was erased again meanwhile gets a second pass of that erasure.
    current = Tombstone.objects.filter(pk=tombstone.pk, erased_at=tombstone.erased_at)
    return bool(current.update(unfinished_id=""))


def _erase(person: Person) -> Person:
    links = PhoneLink.objects.filter(user_id=person.user_id)
    answers = DirectAnswer.objects.filter(user_id=person.user_id)
    for rows in (links, answers):
        person.phones |= set(rows.values_list("phone", flat=True))
    person_erased.send(sender=Person, person=person)
    # In the second pass both hold only what is later than the tombstone.
    if person.erased_at is None:
        person.erased["profile_cache"] += Profile.objects.filter(pk=person.user_id).delete()[0]
        person.erased["phone_links"] += links.delete()[0]
    has_phone = Q(phone__in=person.phones)
    person.erased["direct_answers"] += DirectAnswer.objects.filter(has_phone | Q(user_id=person.user_id)).delete()[0]
    logged = LogEntry.objects.filter(content_type__app_label="profiles").filter(
        Q(object_id=person.user_id) | Q(object_repr=person.user_id)
    )
    person.erased["django_admin_log"] += logged.update(object_id=None, object_repr=hash_of(person.user_id)[:12])
    waiting = WaitingComparison.objects.filter(has_phone | Q(max_id=person.user_id))
    person.erased["comparisons_waiting"] += waiting.delete()[0]
    compared = Comparison.objects.filter(key_hash__in=map(hash_of_phone, person.phones))
    with_names = compared.exclude(cache_name="", api_name="")
    person.erased["comparisons"] += with_names.update(cache_name="", api_name="")
    return person


def _forget_cached(person: Person) -> None:
    """Delete the entry in Redis; if Redis fails, the second pass does it."""
    try:
        cache.forget(person.user_id)
    except cache.CacheError as error:
        person.is_incomplete = True
        logger.warning("erased person still in Redis", extra={"event": "erasure_postponed", "error": str(error)})
