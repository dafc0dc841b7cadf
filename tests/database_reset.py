"""Restores the database that the migrations made, after a test that committed.

Django's flush costs seventeen times as much: it truncates every table, which creates new files for each and its
indexes, and recreates content types and permissions. Its own connection keeps the plans of all statements; the tests'
connection is closed after each test.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection
from django.test import TransactionTestCase

# Only migrations change these.
_UNCHANGED = ("django_migrations", "django_content_type", "auth_permission")
_SCHEMA = "as_migrated"
# Deleted rows keep their space, and the size of a table decides how it is counted.
_TRUNCATE_LARGE = """
FOR large IN SELECT oid::regclass FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 1048576
LOOP EXECUTE 'TRUNCATE ' || large || ' CASCADE'; END LOOP;
"""
# Few tests change these rows.
_RESTORE = """
IF EXISTS ((TABLE {table} EXCEPT ALL TABLE {saved}) UNION ALL (TABLE {saved} EXCEPT ALL TABLE {table})) THEN
    DELETE FROM {table}; INSERT INTO {table} ({columns}) SELECT {columns} FROM {saved};
END IF;
"""


def _columns(table: str) -> list[str]:
    with connection.cursor() as cursor:
        return [column.name for column in connection.introspection.get_table_description(cursor, table)]


def save_rows() -> None:
    """Copy the rows that the migrations wrote, and create a procedure that restores them."""
    tables = sorted(set(connection.introspection.django_table_names(only_existing=True)) - set(_UNCHANGED))
    inserts, deletes = [], []
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {_SCHEMA}")
        for table in tables:
            cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")  # noqa: S608 (names of our own models)
            if cursor.fetchone() == (True,):
                cursor.execute(f"CREATE TABLE {_SCHEMA}.{table} AS TABLE {table}")
                columns = ",".join(map(connection.ops.quote_name, _columns(table)))
                inserts.append(_RESTORE.format(table=table, saved=f"{_SCHEMA}.{table}", columns=columns))
            else:
                deletes.append(f"DELETE FROM {table};")  # noqa: S608
        cursor.execute(
            f"CREATE PROCEDURE {_SCHEMA}.restore() LANGUAGE plpgsql"
            f" AS $body$ DECLARE large text; BEGIN {_TRUNCATE_LARGE} {' '.join(deletes + inserts)} END $body$"
        )


@contextmanager
def replaced_flush() -> Iterator[None]:
    """Delete all rows, the audit log's too, and insert the saved ones, instead of Django's flush."""
    names = ("host", "port", "user", "dbname")
    parameters = {name: value for name, value in connection.get_connection_params().items() if name in names}
    # Replicas have no triggers and no foreign keys.
    options = "-c session_replication_role=replica"
    with psycopg.connect(**parameters, options=options, autocommit=True) as own:

        def _fixture_teardown(self: TransactionTestCase) -> None:
            own.execute(f"CALL {_SCHEMA}.restore()")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TransactionTestCase, "_fixture_teardown", _fixture_teardown)
            yield
