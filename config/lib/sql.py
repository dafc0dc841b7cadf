"""Batch statements on Django's connection, and advisory locks on connections of their own."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import Any

import psycopg
from django.db import connection, transaction

from config.lib import tracing
from config.postgres.base import DeadlineConnection, parameters


def run(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a statement in a transaction of Django's connection and return its rows; raise Django's database errors.

    Parameters (``%b``) are sent in binary format. Django's cursor would send arrays as text, which costs more than all
    other work for a batch of 500 updates.
    """
    with nullcontext() if connection.in_atomic_block else transaction.atomic():
        connection.ensure_connection()
        with (
            tracing.statement(sql),
            connection.wrap_database_errors,
            psycopg.Cursor(connection.connection) as cursor,
        ):
            cursor.execute(sql, parameters, binary=True, prepare=True)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def try_lock(key: int, *, wait_seconds: float = 0.0, longest_seconds: float = 0.0) -> Iterator[bool]:
    """Yield whether the advisory lock was acquired within ``wait_seconds``; release it at the end of the block.

    PostgreSQL releases it after ``longest_seconds`` (0: no limit), because this process may be frozen or cut off.

    The lock belongs to a transaction on a separate connection. This way, the block may commit, and the lock also works
    through a pooler, which keeps a session for a client only during a transaction.
    """
    deadline = time.monotonic() + wait_seconds
    with connection.wrap_database_errors:
        holder = DeadlineConnection.connect(**parameters())
    with closing(holder):
        with connection.wrap_database_errors:
            # The block may take minutes, while this connection is idle.
            limit = int(longest_seconds * 1000)
            holder.execute(f"SET LOCAL idle_in_transaction_session_timeout = {limit}")
            while not (has_lock := _has_lock(holder, key)) and time.monotonic() < deadline:
                time.sleep(0.05)
        try:
            yield has_lock
        finally:
            # A pooler would close its session if the transaction were still open.
            with suppress(psycopg.Error):
                holder.rollback()


def _has_lock(holder: psycopg.Connection, key: int) -> bool:
    row = holder.execute("SELECT pg_try_advisory_xact_lock(%s)", [key]).fetchone()
    return bool(row and row[0])
