"""Batch statements and advisory locks, on Django's connection."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection


def run(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a statement in the transaction of Django's connection and return its rows; errors are those of django.db.

    Parameters (``%b``) are sent in binary format. Django's cursor would send arrays as text, which costs more than all
    other work for a batch of 500 updates.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(sql, parameters, binary=True, prepare=True)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def try_lock(key: int, *, wait_seconds: float = 0.0) -> Iterator[bool]:
    """Yield whether the advisory lock was acquired within ``wait_seconds``; release it at the end of the block."""
    deadline = time.monotonic() + wait_seconds
    while not (has_lock := _locked("SELECT pg_try_advisory_lock(%s)", key)) and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        yield has_lock
    finally:
        if has_lock:
            _locked("SELECT pg_advisory_unlock(%s)", key)


def _locked(statement: str, key: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, [key])
        return bool(cursor.fetchone()[0])
