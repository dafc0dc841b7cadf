"""The table is migrated while it is in use, forward and back: nobody waits, old code goes on inserting.

50 000 rows here; ``make test-migrations`` sets MIGRATION_ROWS to a million.
"""

import os
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from employees import schema

ROWS = int(os.environ.get("MIGRATION_ROWS", "50000"))
LONGEST_STALL_MS = 150
# What code from before the migration sends: it does not name the columns that came later.
OLD_INSERT = """
    INSERT INTO employees (phone, first_name, last_name, middle_name, role, university_id, created_at, updated_at)
    VALUES (%s, 'Иван', 'Петров', '', '', (SELECT min(id) FROM universities), now(), now())
"""
HEAD = "0013"
STEPS = ["0001", "0002", "0003", HEAD, "0003", "0002", "0001", HEAD]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]


def run(sql: str, *params: object) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return list(cursor.fetchall()) if cursor.description else []


def migrate(target: str) -> None:
    call_command("migrate", "employees", target, verbosity=0)


def connect() -> psycopg.Connection:
    parts = connection.get_connection_params()
    return psycopg.connect(
        host=parts["host"], port=parts.get("port"), user=parts["user"], dbname=parts["dbname"], autocommit=True
    )


@pytest.fixture(autouse=True)
def _migrated_again() -> Iterator[None]:
    yield
    call_command("migrate", verbosity=0)


class OldClient(threading.Thread):
    """Old code that creates employees one after the other, and times each."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.created, self.worst_ms = 0, 0.0
        self.failure: Exception | None = None

    def run(self) -> None:
        with connect() as database:
            while not self.stopping.is_set():
                started = time.perf_counter()
                try:
                    database.execute(OLD_INSERT, [f"+1{self.created:010}"])
                except psycopg.Error as error:
                    self.failure = error
                    return
                self.worst_ms = max(self.worst_ms, (time.perf_counter() - started) * 1000)
                self.created += 1
                time.sleep(0.001)

    def __enter__(self) -> "OldClient":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.join()


@pytest.fixture
def people() -> None:
    run("INSERT INTO universities (name, inn, kpp, created_at, updated_at) VALUES ('x', '', '', now(), now())")
    run(
        """
        INSERT INTO employees (phone, first_name, last_name, middle_name, role, university_id, created_at, updated_at)
        SELECT '+79' || lpad(n::text, 9, '0'), 'Иван', 'Петров' || n, '', '', (SELECT min(id) FROM universities),
            now(), now()
        FROM generate_series(1, %s) n
        """,
        ROWS,
    )


def table_file() -> object:
    """A rewrite gives the table another file."""
    return run("SELECT pg_relation_filenode('employees')")[0][0]


def test_it_works_under_load(people: None) -> None:
    migrate("0001")
    file = table_file()
    stalls: dict[str, float] = {}
    with OldClient() as client:
        for number, step in enumerate(STEPS):
            client.worst_ms = 0.0
            migrate(step)
            time.sleep(0.05)
            stalls[f"{number}: {step}"] = client.worst_ms
            assert client.failure is None, f"old code's INSERT failed at {step}: {client.failure}"
    print(f"\n{ROWS} rows, {client.created} creates meanwhile; stalls in ms: {stalls}")  # noqa: T201
    assert max(stalls.values()) <= LONGEST_STALL_MS, stalls
    assert table_file() == file, "the table was rewritten"
    sources = run("SELECT profile_source, profile_last_updated, count(*) FROM employees GROUP BY 1, 2")
    assert sources == [("manual", None, ROWS + client.created)]


def test_a_slow_reader_costs_others_one_lock_wait(people: None) -> None:
    migrate("0001")
    with connect() as reader, OldClient() as client:
        with reader.transaction():
            reader.execute("SELECT count(*) FROM employees")
            migrating = threading.Thread(target=lambda: (migrate("0002"), connection.close()))
            migrating.start()
            time.sleep(1.2)
            assert migrating.is_alive(), "the reader was to be waited for"
        migrating.join()
        assert client.failure is None
    assert client.worst_ms <= schema.LOCK_TIMEOUT_MS + LONGEST_STALL_MS
    assert run("SELECT count(*) FROM information_schema.columns WHERE column_name = 'profile_source'") != [(0,)]


@pytest.mark.parametrize(
    ("before", "after", "index"),
    [("0002", "0003", "idx_employees_profile_source"), ("0009", "0010", "idx_employees_search")],
)
def test_an_interrupted_index_is_built_anew(before: str, after: str, index: str) -> None:
    migrate(before)
    run(f"CREATE INDEX {index} ON employees (first_name)")
    run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", index)
    migrate(after)
    ((is_valid, definition),) = run(
        "SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid = %s::regclass", index
    )
    assert is_valid
    assert "first_name)" not in str(definition).replace("(first_name)::text", "")
