"""Batch statements are planned once per connection; Django would plan them at each execution."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from tests import loops
from webhooks import inbox
from webhooks.inbox import Arrival, connect, store
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox

pytestmark = pytest.mark.django_db(transaction=True)
_PREPARED = "SELECT statement FROM pg_prepared_statements"


async def store_each(*batches: Sequence[Arrival]) -> list[Any]:
    """Store the batches over one connection and return its prepared statements."""
    async with await connect() as conn:
        for batch in batches:
            await store(conn, batch)
        return await (await conn.execute(_PREPARED, prepare=False)).fetchall()


def test_it_works() -> None:
    arrivals = [Arrival(bytes([number]) * 32, None, b"{}", "other", "", datetime.now(UTC)) for number in range(3)]
    statements = loops.run(store_each(*([arrival] for arrival in arrivals)))
    assert [statement.startswith("INSERT INTO webhook_inbox") for (statement,) in statements] == [True]


@pytest.mark.usefixtures("cache_first")
def test_processing_prepares_its_statements() -> None:
    loops.run(store_each([Arrival(b"\1" * 32, None, b'{"update_type": "x"}', "other", "", datetime.now(UTC))]))
    process_inbox()
    assert InboxUpdate.objects.get().state != State.PENDING
    with connection.cursor() as cursor:
        cursor.execute(_PREPARED)
        assert any("webhook_inbox" in statement for (statement,) in cursor.fetchall())


@pytest.mark.parametrize("reason", ["", "тело не JSON"])
def test_values_and_arrays_write_the_same_rows(reason: str) -> None:
    at = datetime(2026, 11, 25, 23, 59, 59, 123457, tzinfo=UTC)
    keys = [number.to_bytes(32) for number in range(2 * inbox._MOST_BY_VALUES + 1)]
    arrivals = [Arrival(key, None, b'\x00{"\xff', "bot_started", reason, at, "0f" * 8) for key in keys]
    loops.run(store_each(arrivals[: inbox._MOST_BY_VALUES], arrivals[inbox._MOST_BY_VALUES :]))
    columns = "body", "update_type", "state", "reason", "received_at", "next_try_at", "finished_at", "request_id"
    ((row, count),) = Counter(InboxUpdate.objects.values_list(*columns)).items()
    assert count == len(keys)
    settled = (State.QUARANTINED, at) if reason else (State.PENDING, None)
    assert row[:4] == (b'\x00{"\xff', "bot_started", settled[0], reason)
    assert row[4:] == (at, at, settled[1], "0f" * 8)
