"""Search the bodies of updates for a string, newest updates first. No index covers bodies, so the time is limited."""

import json
import time
from typing import NamedTuple

from django.db import OperationalError, transaction
from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext as _

from config.lib import times
from config.postgres.base import statement_deadline
from webhooks.models import InboxUpdate

MOST_FOUND = 1000
SECONDS = 3.0
_CHUNK = 10_000
_CONTAINS = "EXISTS (SELECT FROM unnest(%s::bytea[]) AS word WHERE position(word IN body) > 0)"


class Matches(NamedTuple):
    """The IDs of the updates found; ``left_out`` is a message if the search is incomplete, otherwise empty."""

    ids: list[int]
    left_out: str = ""


def search(rows: QuerySet[InboxUpdate], text: str) -> Matches:
    """Return the updates among ``rows`` whose body contains the text as typed, or in lower, upper or title case.

    JSON may contain a letter as it is or escaped, so both forms are searched for. Stop after SECONDS or MOST_FOUND.
    """
    spellings = {text, text.lower(), text.upper(), text.capitalize(), text.title()}
    words = {word.encode() for word in spellings} | {json.dumps(word)[1:-1].encode() for word in spellings}
    contains = RawSQL(_CONTAINS, [sorted(words)], output_field=BooleanField())  # noqa: S611 (a constant)
    rows = rows.order_by("-pk")
    matches = rows.filter(body__isnull=False).annotate(contains=contains).filter(contains=True)
    ids: list[int] = []
    above = None
    ends_at = time.monotonic() + SECONDS
    try:
        # In a transaction of its own, because a cancelled statement aborts its transaction.
        with statement_deadline(SECONDS), transaction.atomic():
            above = rows.values_list("pk", flat=True).first() or 0
            while above > 0:
                if time.monotonic() > ends_at:
                    return Matches(ids, _stopped(above))
                chunk = matches.filter(pk__gt=above - _CHUNK, pk__lte=above).values_list("pk", flat=True)
                ids += chunk[: MOST_FOUND + 1 - len(ids)]
                if len(ids) > MOST_FOUND:
                    return Matches(ids[:MOST_FOUND], _("These are the newest %(n)d matches.") % {"n": MOST_FOUND})
                above -= _CHUNK
    except OperationalError:
        if above is None:
            raise
        return Matches(ids, _stopped(above))
    return Matches(ids)


def _stopped(above: int) -> str:
    earliest = InboxUpdate.objects.filter(pk__gt=above).order_by("pk").values_list("received_at", flat=True).first()
    at = times.text(earliest) if earliest else "—"
    params = {"seconds": int(SECONDS), "at": at}
    return (
        _(
            "The search was stopped after %(seconds)d s. It covers the updates received since %(at)s. Narrow the list"
            " down by time, state or type."
        )
        % params
    )
