"""Brings the database back to what the migrations made of it, after a test that committed.

Django's flush truncates every table, which writes new files for each and its indexes, and makes content types and
permissions anew: seventeen times the work.
"""

from django.db import connection
from django.test import TransactionTestCase

# Whoever changes these is a migration.
_KEPT = ("django_migrations", "django_content_type", "auth_permission")
_KEEPING = "as_migrated"
# Deleted rows keep their room, and the size of a table decides how it is counted.
_TRUNCATE_LARGE = """
FOR large IN SELECT oid::regclass FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 1048576
LOOP EXECUTE 'TRUNCATE ' || large || ' CASCADE'; END LOOP;
"""


def _tables() -> set[str]:
    return set(connection.introspection.django_table_names(only_existing=True)) - set(_KEPT)


def _columns(table: str) -> list[str]:
    with connection.cursor() as cursor:
        return [column.name for column in connection.introspection.get_table_description(cursor, table)]


def remember_rows() -> None:
    """Copy what the migrations wrote into tables, beside a procedure that brings it back."""
    tables = sorted(_tables())
    inserts = []
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {_KEEPING}")
        for table in tables:
            cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")  # noqa: S608 (names of our own models)
            if cursor.fetchone() == (True,):
                cursor.execute(f"CREATE TABLE {_KEEPING}.{table} AS TABLE {table}")
                columns = ",".join(map(connection.ops.quote_name, _columns(table)))
                inserts.append(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {_KEEPING}.{table};")  # noqa: S608
        deletes = [f"DELETE FROM {table};" for table in tables]  # noqa: S608
        cursor.execute(
            f"CREATE PROCEDURE {_KEEPING}.restore() LANGUAGE plpgsql"
            # No triggers, no foreign keys.
            " SET session_replication_role = replica"
            f" AS $body$ DECLARE large text; BEGIN {_TRUNCATE_LARGE} {' '.join(deletes + inserts)} END $body$"
        )


def restore_rows() -> None:
    """Delete all rows, the audit's too, and write those that remember_rows() found; in one round trip."""
    with connection.cursor() as cursor:
        cursor.execute(f"CALL {_KEEPING}.restore()")


def instead_of_flush() -> None:
    def _fixture_teardown(self: TransactionTestCase) -> None:
        restore_rows()

    TransactionTestCase._fixture_teardown = _fixture_teardown  # type: ignore[attr-defined]
