"""Statements over whole batches and advisory locks, on Django's connection."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection


def run(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement on Django's connection, in its transaction; raise django.db errors.

    The server binds the parameters in binary (``%b``): Django's cursor would write arrays as text, which costs more
    than everything else that a batch of 500 updates does.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(sql, parameters, binary=True, prepare=True)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def try_lock(key: int, *, wait_seconds: float = 0.0) -> Iterator[bool]:
    """Yield whether the connection got an advisory lock within the time; release it at the end."""
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
