"""The table before and after: old code's INSERT works at every step, and an interrupted index is repaired."""

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection

OLD_INSERT = """
    INSERT INTO employees (phone, first_name, last_name, middle_name, role, university_id, created_at, updated_at)
    VALUES (%s, 'Иван', 'Петров', '', '', (SELECT min(id) FROM universities), now(), now())
"""
STEPS = ["0001", "0002", "0003", "0002", "0001", "0003"]

pytestmark = pytest.mark.django_db(transaction=True)


def run(sql: str, *params: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall()) if cursor.description else []


def migrate(target: str) -> None:
    call_command("migrate", "employees", target, verbosity=0)


@pytest.fixture(autouse=True)
def _migrated_again() -> Iterator[None]:
    yield
    migrate("0003")


def test_old_code_inserts_at_every_step() -> None:
    run("INSERT INTO universities (name, inn, kpp, created_at, updated_at) VALUES ('x', '', '', now(), now())")
    for number, step in enumerate(STEPS):
        migrate(step)
        run(OLD_INSERT, f"+7916000000{number}")
    assert run("SELECT profile_source, profile_last_updated, count(*) FROM employees GROUP BY 1, 2") == [
        ("manual", None, len(STEPS))
    ]


def test_an_interrupted_index_is_built_anew() -> None:
    migrate("0002")
    run("CREATE INDEX idx_employees_profile_source ON employees (profile_source)")
    run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_employees_profile_source'::regclass")
    migrate("0003")
    assert run("SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx_employees_profile_source'::regclass") == [
        (True,)
    ]
