"""Statements over whole batches, on Django's connection and in its transaction."""

from collections.abc import Sequence
from typing import Any

import psycopg
from django.db import connection


def run(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of one statement, none where it returns none; raise django.db errors.

    Parameters are bound by the server and in binary (``%b``): Django's own cursor writes arrays out as text, which
    costs a batch of 500 updates more than all its other work.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(sql, parameters, binary=True, prepare=True)
        return cursor.fetchall() if cursor.description else []
