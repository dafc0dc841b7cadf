"""Rows of the inbox in any state and age."""

import itertools
from datetime import timedelta
from typing import Any

from django.utils import timezone

from webhooks.models import InboxUpdate, State

_numbers = itertools.count()


def row(state: State = State.DONE, age: timedelta = timedelta(), **fields: Any) -> InboxUpdate:
    """Create an update that arrived and, unless it is pending, finished at this age."""
    return rows(1, state, age, **fields)[0]


def rows(number: int, state: State = State.DONE, age: timedelta = timedelta(), **fields: Any) -> list[InboxUpdate]:
    """Create updates like those of row(), in one statement."""
    at = timezone.now() - age
    values = {
        "body": b'{"update_type": "bot_started"}',
        "update_type": "bot_started",
        "received_at": at,
        "next_try_at": at,
        "finished_at": None if state == State.PENDING else at,
    }
    made = ({"dedup_key": b"row %d" % next(_numbers), "state": state} | values | fields for _ in range(number))
    return InboxUpdate.objects.bulk_create(InboxUpdate(**each) for each in made)
