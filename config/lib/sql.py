from collections.abc import Sequence
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
