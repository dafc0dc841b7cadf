"""Erase a person from the inbox: remove the bodies of their updates and of other people's updates that mention them."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models.functions import Coalesce
from django.dispatch import receiver
from django.utils import timezone

from profiles.erasure import Person, person_erased
from webhooks import payloads
from webhooks.models import InboxUpdate, State
from webhooks.payloads import MalformedUpdate

# position() quickly excludes nearly all rows; the regular expression then keeps only matches of a whole ID or phone.
_MENTIONING = """
SELECT id FROM webhook_inbox WHERE received_at <= %(until)s AND (user_id = %(user_id)s OR EXISTS (
    SELECT FROM unnest(%(words)s::text[]) word WHERE position(convert_to(word, 'UTF8') IN body) > 0
        AND encode(body, 'escape') ~ ('(^|[^A-Za-z0-9_.-])' || replace(word, '.', '\\.') || '($|[^A-Za-z0-9_.-])')))
"""


@receiver(person_erased)
def erase(person: Person, **_: Any) -> None:
    words = [person.user_id, *(phone.lstrip("+") for phone in person.phones)]
    with connection.cursor() as cursor:
        cursor.execute(_MENTIONING, {"until": person.received_until, "user_id": person.user_id, "words": words})
        candidates = [pk for (pk,) in cursor.fetchall()]
    emptied: list[int] = []
    dead: list[int] = []
    for update in InboxUpdate.objects.filter(pk__in=candidates).iterator(chunk_size=200):
        if not _mentions(update, person):
            continue
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
    if update.user_id == person.user_id or any(phone.lstrip("+").encode() in body for phone in person.phones):
        return True
    try:
        unvisited = [payloads.parse(body)]
    except MalformedUpdate:
        return True
    # Iterate instead of recursing: JSON that Python can parse may still be too deeply nested for a recursive function.
    while unvisited:
        item = unvisited.pop()
        if isinstance(item, dict):
            if str(item.get("user_id")) == person.user_id:
                return True
            unvisited += item.values()
        elif isinstance(item, list):
            unvisited += item
    return False


def _sender(update: InboxUpdate) -> str:
    """Return the MAX ID of the sender; ``""`` if the update has none or is malformed, so that its body is removed."""
    try:
        return payloads.read(payloads.parse_stored(bytes(update.body or b"")), update.received_at).user_id
    except MalformedUpdate:
        return ""
