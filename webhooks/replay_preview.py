"""What a replay of a selection would do, for those who decide on it."""

from typing import NamedTuple

from django.db.models import Count, Q

from webhooks.models import InboxQuerySet, State


class ReplayPreview(NamedTuple):
    """How many updates can be replayed, how many have lost their body, how many still wait for their first turn."""

    replayable: int
    without_body: int
    pending: int


def outlook(updates: InboxQuerySet) -> ReplayPreview:
    is_pending = Q(state=State.PENDING)
    counts = updates.order_by().aggregate(
        replayable=Count("pk", filter=~is_pending & Q(body__isnull=False)),
        without_body=Count("pk", filter=~is_pending & Q(body__isnull=True)),
        pending=Count("pk", filter=is_pending),
    )
    return ReplayPreview(**counts)
