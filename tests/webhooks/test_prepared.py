"""The statements over batches are planned once a connection; Django would have them planned at each execution."""

from datetime import UTC, datetime

import pytest
from django.db import connection

from webhooks.inbox import Arrival, connect, store
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox

pytestmark = pytest.mark.django_db(transaction=True)
_PREPARED = "SELECT statement FROM pg_prepared_statements"


def test_it_works() -> None:
    with connect() as conn:
        for number in range(3):
            store(conn, [Arrival(bytes([number]) * 32, None, b"{}", "other", "", datetime.now(UTC))])
        statements = conn.execute(_PREPARED, prepare=False).fetchall()
    assert [statement.startswith("INSERT INTO webhook_inbox") for (statement,) in statements] == [True]


@pytest.mark.usefixtures("cache_first")
def test_processing_prepares_its_own() -> None:
    with connect() as conn:
        store(conn, [Arrival(b"\1" * 32, None, b'{"update_type": "x"}', "other", "", datetime.now(UTC))])
    process_inbox()
    assert InboxUpdate.objects.get().state != State.PENDING
    with connection.cursor() as cursor:
        cursor.execute(_PREPARED)
        assert any("webhook_inbox" in statement for (statement,) in cursor.fetchall())
