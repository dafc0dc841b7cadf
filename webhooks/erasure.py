"""Find a person in the inbox; erase the bodies of their updates and of other people's updates that mention them."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Max, Q, QuerySet
from django.db.models.functions import Coalesce, Now
from django.dispatch import receiver

from config.postgres.base import seconds_left
from profiles.personal_data import STORES, Person, Store, columns, rows_of, store
from profiles.personal_data.erasure import ErasedPerson, latest_receipt, person_erased
from webhooks import payloads
from webhooks.models import TIME_OF_RECEIPT, DuplicateDelivery, InboxUpdate, PayloadAccess, Replay, State
from webhooks.payloads import MalformedUpdate
from webhooks.retention import SETTLED

# position() quickly excludes nearly all rows; the regular expression then keeps only matches of a whole ID or phone.
_MENTIONS = """EXISTS (
    SELECT FROM unnest(%(words)s::text[]) word WHERE position(convert_to(word, 'UTF8') IN body) > 0
        AND encode(body, 'escape') ~ ('(^|[^A-Za-z0-9_.-])' || replace(word, '.', '\\.') || '($|[^A-Za-z0-9_.-])'))"""
# Each part has the condition and the order of an index, so that the many rows without a body are not read. An update
# that is processed during the search moves to the newest rows of a later part, which the next pass reads too.
_PARTS = (
    ("state = 'pending'", "next_try_at"),
    ("state = 'dead'", "finished_at"),
    ("state IN ('done', 'skipped', 'quarantined')", "finished_at"),
)
_SLICES = [
    f"""
SELECT {moment}, id, {_MENTIONS} FROM webhook_inbox
WHERE {condition} AND body IS NOT NULL AND {moment} >= %(since)s AND ({moment}, id) < (%(before)s, %(id)s)
ORDER BY {moment} DESC, id DESC LIMIT %(limit)s
"""  # noqa: S608 (constants)
    for condition, moment in _PARTS
]
_SLICE = 2_000
# How many seconds one pass reads bodies, and how many it leaves of a request's time for everything else.
SEARCH_SECONDS, _RESERVED_SECONDS = 10.0, 4.0
# The clocks of hosts may differ by hours, so the next pass also reads updates finished up to two hours before this one.
_BEGAN = "SELECT (clock_timestamp() - interval '2 hours')::text"
_WHOLE_WORD = "(^|[^A-Za-z0-9_.-])({})($|[^A-Za-z0-9_.-])"


def _present(update: InboxUpdate, person: Person) -> dict[str, Any]:
    """Return an update's columns and its body: the whole body if the person sent it, else the parts about the person.

    A body that cannot be parsed is returned as a string.
    """
    row = columns(update, person) | {"body": None}
    if update.body is None:
        return row
    try:
        body = payloads.parse(bytes(update.body))
    except MalformedUpdate:
        return row | {"body": bytes(update.body).decode(errors="replace")}
    return row | {"body": body if update.user_id in person.user_ids else list(_mentions_in(body, person))}


@dataclass
class _Search:
    """A search for the updates that mention a person, which may take several passes.

    The search reads the inbox in parts, each from its newest row back to the time ``since``. The next pass continues
    with rows older than the one with the time ``before`` and the ID ``id``. ``words`` are the person's IDs and phones.
    """

    words: list[str] = field(default_factory=list)
    since: str = "-infinity"
    part: int = 0
    before: str = "infinity"
    id: int = 2**63 - 1
    began: str = ""

    @property
    def is_complete(self) -> bool:
        return self.part == len(_PARTS)

    @classmethod
    def of(cls, person: Person, state: dict[str, Any] | None = None) -> _Search:
        """Return the search that continues from ``state``, or a new search if more IDs or phones are known by now."""
        words = {*person.user_ids, *(phone.lstrip("+") for phone in person.phones)}
        earlier = cls(**state or {})
        if not earlier.words:
            earlier.words = sorted(words)
        return earlier if words <= set(earlier.words) else cls(sorted(words | set(earlier.words)))

    def run(self, seconds: float) -> list[int]:
        """Search for ``seconds``; return the IDs of the updates that may mention one of the words."""
        found: list[int] = []
        ends_at = time.monotonic() + seconds
        with connection.cursor() as cursor:
            if not self.began:
                cursor.execute(_BEGAN)
                [self.began] = cursor.fetchone()
            while not self.is_complete and time.monotonic() < ends_at:
                place: dict[str, Any] = {"since": self.since, "before": self.before, "id": self.id}
                cursor.execute(_SLICES[self.part], place | {"words": self.words, "limit": _SLICE})
                rows = cursor.fetchall()
                found += [pk for _, pk, is_mentioned in rows if is_mentioned]
                if len(rows) < _SLICE:
                    self.part, self.before, self.id = self.part + 1, "infinity", 2**63 - 1
                else:
                    self.before, self.id = rows[-1][0].isoformat(), rows[-1][1]
        return found

    def next(self) -> dict[str, Any]:
        """Return the state from which the next pass continues.

        If this search is complete, the next pass reads only the updates that were finished after this search began.
        """
        return {"since": self.began} if self.is_complete else asdict(self)


def _own_or(found: list[int], person: Person) -> QuerySet[InboxUpdate]:
    return InboxUpdate.objects.filter(Q(pk__in=found) | Q(person.has_id("user_id"), ~Q(user_id="")))


@store(InboxUpdate, _present)
def _updates(person: Person) -> QuerySet[InboxUpdate]:
    candidates = _own_or(_Search.of(person).run(math.inf), person)
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
    """Return the latest time of receipt if it is in the future; otherwise, return None or any past time.

    The time of an erasure must not be earlier than any time of receipt. It is the current time or later, so only future
    times matter; they exist if PostgreSQL's clock has been set back. A host's clock that was ahead has no effect. No
    index covers the time of receipt of pending updates, so only the newest thousand updates are searched for them.
    """
    updates, now = InboxUpdate.objects.annotate(time=TIME_OF_RECEIPT), Now()
    future = [
        updates.exclude(state=State.PENDING).filter(received_at__gt=now),
        # No update is finished before it is received, and PostgreSQL sets the time when it is finished.
        updates.filter(state__in=SETTLED, finished_at__gt=now),
        updates.filter(state=State.DEAD, finished_at__gt=now),
        updates.order_by("-pk").values("time")[:1000],
    ]
    return max(filter(None, (rows.aggregate(at=Max("time"))["at"] for rows in future)), default=None)


@receiver(person_erased)
def erase(person: ErasedPerson, **_: Any) -> None:
    emptied: list[int] = []
    dead: list[int] = []
    left = seconds_left()
    search = _Search.of(person, person.progress.get("webhook_inbox"))
    found = search.run(SEARCH_SECONDS if left is None else left - _RESERVED_SECONDS)
    person.progress["webhook_inbox"] = search.next()
    person.is_partial |= not search.is_complete
    candidates = _own_or(found, person).annotate(time=TIME_OF_RECEIPT).filter(time__lte=person.received_until)
    for update in candidates.iterator(chunk_size=200):
        if not _mentions(update, person):
            continue
        if update.state == State.PENDING and _sender(update) not in ("", person.user_id):
            # The update is from another person, and their name has not been extracted from it yet.
            person.is_incomplete = True
        else:
            (dead if update.state == State.DEAD else emptied).append(update.pk)
    person.erased["webhook_inbox"] += InboxUpdate.objects.filter(pk__in=emptied).update(
        body=None, user_id="", error="", state=State.DONE, finished_at=Coalesce("finished_at", Now())
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
    """Yield the parts of a parsed body about the person: objects with the person's MAX ID, and strings with a phone."""
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
    """Return the MAX ID of the sender; ``""`` if the update has no sender or is malformed."""
    try:
        return payloads.read(payloads.parse_stored(bytes(update.body or b"")), update.time_of_receipt).user_id
    except MalformedUpdate:
        return ""
