"""What was acknowledged survives kill -9 of PostgreSQL, even if an administrator has set synchronous_commit to off."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import psycopg
import pytest
from django.db import connection, transaction

from tests.servers import FaultyServer


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("block", [transaction.atomic, nullcontext])
def test_it_survives_kill_9(
    durable_postgres: FaultyServer, monkeypatch: pytest.MonkeyPatch, block: Callable[[], AbstractContextManager[None]]
) -> None:
    with psycopg.connect(durable_postgres.url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET synchronous_commit = off")
        # Otherwise PostgreSQL itself flushes within 0.6 seconds what was committed.
        admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("CREATE TABLE kept (id int)")
        admin.execute("CHECKPOINT")
    time.sleep(0.3)
    connection.close()
    options = {"HOST": durable_postgres.url.partition("host=")[2], "NAME": "directory"}
    monkeypatch.setattr(connection, "settings_dict", connection.settings_dict | options)
    try:
        with block(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO kept VALUES (1)")
        durable_postgres.kill()
    finally:
        connection.close()
    durable_postgres.start()
    with psycopg.connect(durable_postgres.url) as admin:
        assert admin.execute("SELECT count(*) FROM kept").fetchone() == (1,)
