"""Brings the database back to what the migrations made of it, after a test that committed.

Django's flush truncates every table, which writes new files for each and its indexes, and makes content types and
permissions anew: seventeen times the work.
"""

from django.db import connection, transaction
from django.test import TransactionTestCase

# Whoever changes these is a migration.
_KEPT = ("django_migrations", "django_content_type", "auth_permission")
_KEEPING = "as_migrated"


def _tables() -> set[str]:
    return set(connection.introspection.django_table_names(only_existing=True)) - set(_KEPT)


def remember_rows() -> None:
    """Copy what the migrations wrote into tables."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {_KEEPING}")
        for table in sorted(_tables()):
            cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")  # noqa: S608 (names of our own models)
            if cursor.fetchone() == (True,):
                cursor.execute(f"CREATE TABLE {_KEEPING}.{table} AS TABLE {table}")


def restore_rows() -> None:
    """Delete all rows, the audit's too, and write those that remember_rows() found."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, string_agg(quote_ident(column_name), ',') FROM information_schema.columns"
            " WHERE table_schema = %s GROUP BY 1",
            [_KEEPING],
        )
        remembered = cursor.fetchall()
        statements = ["SET LOCAL session_replication_role = replica"]  # No triggers, no foreign keys.
        statements += [f"DELETE FROM {table}" for table in sorted(_tables())]  # noqa: S608
        for table, columns in remembered:
            statements.append(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {_KEEPING}.{table}")  # noqa: S608
        for statement in statements:
            cursor.execute(statement)


def instead_of_flush() -> None:
    def _fixture_teardown(self: TransactionTestCase) -> None:
        restore_rows()

    TransactionTestCase._fixture_teardown = _fixture_teardown  # type: ignore[attr-defined]
