"""Two web processes that store the same updates in opposite order wait for each other in one direction only."""

import asyncio
from datetime import UTC, datetime

import pytest

from tests import loops
from webhooks.inbox import Arrival, connect, store
from webhooks.models import InboxUpdate

pytestmark = pytest.mark.django_db(transaction=True)
_BATCH = 100


async def store_both(first: list[Arrival], second: list[Arrival]) -> None:
    async with await connect() as one, await connect() as other:
        await asyncio.gather(store(one, first), store(other, second))


def test_no_deadlock() -> None:
    for turn in range(20):
        keys = [bytes([turn, number]) * 16 for number in range(_BATCH)]
        arrivals = [Arrival(key, None, b"{}", "other", "", datetime.now(UTC)) for key in keys]
        loops.run(store_both(arrivals, arrivals[::-1]))
    assert InboxUpdate.objects.count() == 20 * _BATCH
