"""Batch statements are planned once per connection; Django would plan them at each execution."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from tests import loops
from webhooks.inbox import Arrival, InboxConnection, connect, store
from webhooks.models import InboxUpdate, State
from webhooks.payloads import LARGEST_ENVELOPE
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


@pytest.mark.parametrize("reasons", [[""] * 3, ["", "тело не JSON", ""], ["тело не JSON"] * 3])
def test_each_form_writes_the_same_rows(reasons: list[str]) -> None:
    at = datetime(2026, 11, 25, 23, 59, 59, 123457, tzinfo=UTC)
    body, request_id = b'\x00{"\xff', "0f" * 8
    arrivals = [
        Arrival(number.to_bytes(32), None, body, "bot_started", reason, at, request_id)
        for number, reason in enumerate(reasons)
    ]
    loops.run(store_each(arrivals, [Arrival(b"\7" * 32, None, body, "bot_started", "", at, request_id)]))
    columns = "body", "update_type", "state", "reason", "received_at", "next_try_at", "finished_at", "request_id"
    settled = [(State.QUARANTINED, at) if reason else (State.PENDING, None) for reason in [*reasons, ""]]
    assert list(InboxUpdate.objects.order_by("pk").values_list(*columns)) == [
        (body, "bot_started", state, reason, at, at, finished_at, request_id)
        for reason, (state, finished_at) in zip([*reasons, ""], settled, strict=True)
    ]


def test_the_largest_envelope_is_one_statement() -> None:
    at = datetime.now(UTC)
    arrivals = [Arrival(number.to_bytes(32), None, b"{}", "other", "", at) for number in range(LARGEST_ENVELOPE)]
    (statement,) = loops.run(store_each(arrivals, arrivals))
    assert statement[0].startswith("INSERT INTO webhook_inbox")
    assert InboxUpdate.objects.count() == LARGEST_ENVELOPE


@pytest.mark.parametrize("reason", ["", "тело не JSON"])
def test_a_batch_is_durable_where_commits_are_not(reason: str) -> None:
    """The test servers run with synchronous_commit off, as an administrator may have set it."""

    async def is_flushed(conn: InboxConnection) -> bool:
        cursor = await conn.execute("SELECT pg_current_wal_insert_lsn() <= pg_current_wal_flush_lsn()", prepare=False)
        row = await cursor.fetchone()
        return bool(row and row[0])

    async def outcomes(key: bytes) -> tuple[bool, bool]:
        async with await connect() as conn:
            await conn.execute("SELECT pg_logical_emit_message(true, 'test', 'x')", prepare=False)
            before = await is_flushed(conn)
            await store(conn, [Arrival(key, None, b"{}", "other", reason, datetime.now(UTC))])
            return before, await is_flushed(conn)

    results = [loops.run(outcomes(bytes([number]) * 32)) for number in range(5)]
    assert all(after for _before, after in results)
    # Now and then the server's own writer is faster.
    assert not all(before for before, _after in results)
