"""What the inbox keeps of a person: the bodies of their updates, and of those by others in which they are."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models.functions import Coalesce
from django.dispatch import receiver
from django.utils import timezone

from profiles.erasure import Person, person_erased
from profiles.user_ids import user_id_of
from webhooks import payloads
from webhooks.models import InboxUpdate, State
from webhooks.payloads import MalformedUpdate

# The plain search passes over nearly all; the pattern then tells a whole word from digits in the middle of others.
_WITH_ANY_OF = """
SELECT id FROM webhook_inbox WHERE received_at <= %(until)s AND (user_id = %(user_id)s OR EXISTS (
    SELECT FROM unnest(%(words)s::text[]) word WHERE position(convert_to(word, 'UTF8') IN body) > 0
        AND encode(body, 'escape') ~ ('(^|[^A-Za-z0-9_.-])' || replace(word, '.', '\\.') || '($|[^A-Za-z0-9_.-])')))
"""


@receiver(person_erased)
def erase(person: Person, **_: Any) -> None:
    theirs: list[int] = []
    dead: list[int] = []
    for update in InboxUpdate.objects.filter(pk__in=_candidates(person)).iterator(chunk_size=200):
        if not _mentions(update, person):
            continue
        if update.state == State.PENDING and _sender(update) not in ("", person.user_id):
            # Somebody else's, whose own name is still to be taken from it.
            person.is_incomplete = True
        else:
            (dead if update.state == State.DEAD else theirs).append(update.pk)
    emptied = InboxUpdate.objects.filter(pk__in=theirs).update(
        body=None, user_id="", error="", state=State.DONE, finished_at=Coalesce("finished_at", timezone.now())
    )
    person.erased["webhook_inbox"] += emptied + InboxUpdate.objects.filter(pk__in=dead).delete()[0]


def _candidates(person: Person) -> list[int]:
    words = [person.user_id, *(phone.lstrip("+") for phone in person.phones)]
    with connection.cursor() as cursor:
        cursor.execute(_WITH_ANY_OF, {"until": person.received_until, "user_id": person.user_id, "words": words})
        return [pk for (pk,) in cursor.fetchall()]


def _mentions(update: InboxUpdate, person: Person) -> bool:
    """Tell whether the person is in it, rather than another number of the same digits; what is no JSON is not kept."""
    body = bytes(update.body or b"")
    if update.user_id == person.user_id or any(phone.lstrip("+").encode() in body for phone in person.phones):
        return True
    try:
        return _holds(payloads.parse(body), person.user_id)
    except MalformedUpdate:
        return True


def _holds(value: Any, user_id: str) -> bool:
    # No recursion: what could be parsed may be nested deeper than that could follow.
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            if _is_id(item.get("user_id"), user_id):
                return True
            waiting += item.values()
    return False


def _is_id(value: object, user_id: str) -> bool:
    try:
        return user_id_of(value) == user_id
    except ValueError:
        return False


def _sender(update: InboxUpdate) -> str:
    """Return whose update it is; ``""`` where that cannot be told, so that nobody would lose by its end."""
    try:
        return payloads.read(payloads.parse_stored(bytes(update.body or b"")), update.received_at).user_id
    except MalformedUpdate:
        return ""
