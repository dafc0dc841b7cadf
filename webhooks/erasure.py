"""Find a person in the inbox; erase the bodies of their updates and of other people's updates that mention them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Max, QuerySet
from django.db.models.functions import Coalesce
from django.dispatch import receiver
from django.utils import timezone

from profiles.erasure import ErasedPerson, latest_receipt, person_erased
from profiles.personal_data import STORES, Person, Store, columns, rows_of, store
from webhooks import payloads
from webhooks.models import DuplicateDelivery, InboxUpdate, PayloadAccess, Replay, State
from webhooks.payloads import MalformedUpdate

# position() quickly excludes nearly all rows; the regular expression then keeps only matches of a whole ID or phone.
_MENTIONS = """body IS NOT NULL AND EXISTS (
    SELECT FROM unnest(%(words)s::text[]) word WHERE position(convert_to(word, 'UTF8') IN body) > 0
        AND encode(body, 'escape') ~ ('(^|[^A-Za-z0-9_.-])' || replace(word, '.', '\\.') || '($|[^A-Za-z0-9_.-])'))"""
# Each part is the condition of an index, so that the many rows without a body are not read.
_MENTIONING = f"""
SELECT id FROM webhook_inbox WHERE user_id = ANY(%(user_ids)s) AND user_id <> ''
UNION SELECT id FROM webhook_inbox WHERE state IN ('done', 'skipped', 'quarantined') AND {_MENTIONS}
UNION SELECT id FROM webhook_inbox WHERE state = 'pending' AND {_MENTIONS}
UNION SELECT id FROM webhook_inbox WHERE state = 'dead' AND {_MENTIONS}
"""  # noqa: S608 (constants)
_WHOLE_WORD = "(^|[^A-Za-z0-9_.-])({})($|[^A-Za-z0-9_.-])"


def _present(update: InboxUpdate, person: Person) -> dict[str, Any]:
    """Return an update with its body: the whole body of the person's own, and of others what mentions the person."""
    row = columns(update, person) | {"body": None}
    if update.body is None:
        return row
    try:
        body = payloads.parse(bytes(update.body))
    except MalformedUpdate:
        return row | {"body": bytes(update.body).decode(errors="replace")}
    return row | {"body": body if update.user_id in person.user_ids else list(_mentions_in(body, person))}


@store(InboxUpdate, _present)
def _updates(person: Person) -> QuerySet[InboxUpdate]:
    words = [*person.user_ids, *(phone.lstrip("+") for phone in person.phones)]
    with connection.cursor() as cursor:
        cursor.execute(_MENTIONING, {"user_ids": list(person.user_ids), "words": words})
        candidates = InboxUpdate.objects.filter(pk__in=[pk for (pk,) in cursor.fetchall()])
    found = [update.pk for update in candidates.iterator(chunk_size=200) if _mentions(update, person)]
    return InboxUpdate.objects.filter(pk__in=found)


STORES |= {
    PayloadAccess: Store(
        lambda person: PayloadAccess.objects.filter(inbox_update_id__in=rows_of(InboxUpdate, person).values("pk"))
    ),
    DuplicateDelivery: Store(
        lambda person: DuplicateDelivery.objects.filter(dedup_key__in=rows_of(InboxUpdate, person).values("dedup_key"))
    ),
    Replay: Store(
        lambda person: (
            Replay.objects.filter(selection__regex=_WHOLE_WORD.format("|".join(map(re.escape, person.user_ids))))
            if person.user_ids
            else Replay.objects.none()
        )
    ),
}


@receiver(latest_receipt)
def newest(**_: Any) -> datetime | None:
    """Return the latest time of receipt, whatever the clock of the host that stored it.

    Of pending updates, whose times have no index, only the last thousand count.
    """
    last = InboxUpdate.objects.order_by("-pk").values("received_at")[:1000]
    times = [
        rows.aggregate(at=Max("received_at"))["at"] for rows in (InboxUpdate.objects.exclude(state=State.PENDING), last)
    ]
    return max(filter(None, times), default=None)


@receiver(person_erased)
def erase(person: ErasedPerson, **_: Any) -> None:
    emptied: list[int] = []
    dead: list[int] = []
    for update in rows_of(InboxUpdate, person).filter(received_at__lte=person.received_until).iterator(chunk_size=200):
        if update.state == State.PENDING and _sender(update) not in ("", person.user_id):
            # The update is from another person, and their name has not been extracted from it yet.
            person.is_incomplete = True
        else:
            (dead if update.state == State.DEAD else emptied).append(update.pk)
    person.erased["webhook_inbox"] += InboxUpdate.objects.filter(pk__in=emptied).update(
        body=None, user_id="", error="", state=State.DONE, finished_at=Coalesce("finished_at", timezone.now())
    )
    person.erased["webhook_inbox"] += InboxUpdate.objects.filter(pk__in=dead).delete()[0]


def _mentions(update: InboxUpdate, person: Person) -> bool:
    """Return whether the update mentions this person. A body that cannot be parsed counts as a match."""
    body = bytes(update.body or b"")
    if update.user_id in person.user_ids or any(phone.lstrip("+").encode() in body for phone in person.phones):
        return True
    try:
        return any(True for _ in _mentions_in(payloads.parse(body), person))
    except MalformedUpdate:
        return True


def _mentions_in(body: Any, person: Person) -> Iterator[Any]:
    """Yield the objects of a parsed body that have the person's MAX ID, and the texts that contain a phone."""
    phones = [phone.lstrip("+") for phone in person.phones]
    unvisited = [body]
    # Iterate instead of recursing: JSON that Python can parse may still be too deeply nested for a recursive function.
    while unvisited:
        item = unvisited.pop()
        if isinstance(item, dict):
            if str(item.get("user_id")) in person.user_ids:
                yield item
            unvisited += item.values()
        elif isinstance(item, list):
            unvisited += item
        elif any(phone in str(item) for phone in phones):
            yield item


def _sender(update: InboxUpdate) -> str:
    """Return the MAX ID of the sender; ``""`` if the update has none or is malformed, so that its body is removed."""
    try:
        return payloads.read(payloads.parse_stored(bytes(update.body or b"")), update.received_at).user_id
    except MalformedUpdate:
        return ""
