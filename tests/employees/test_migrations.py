"""The table is migrated while it is in use, forward and back: nobody waits, old code goes on inserting.

50 000 rows here; ``make test-migrations`` sets MIGRATION_ROWS to a million.
"""

import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from config.lib import migration_operations
from employees import name_source_archive
from tests.employees.conftest import FEW, ROWS

LONGEST_STALL_MS = 150
HEAD = "0105"
BACK = "rollback schema"
STEPS = ["0001", "0002", "0003", HEAD, BACK, HEAD, "0003", "0002", "0001", HEAD]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300 + ROWS // 500),
    pytest.mark.xdist_group("slow"),
]


def run(sql: str, *params: str | int) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return list(cursor.fetchall()) if cursor.description else []


def migrate(target: str) -> None:
    if target == BACK:
        name_source_archive.roll_back()
    else:
        call_command("migrate", "employees", target, verbosity=0)


def migrate_and_close(target: str) -> None:
    migrate(target)
    connection.close()


def dsn() -> str:
    parts = connection.get_connection_params()
    return f"host={parts['host']} user={parts['user']} dbname={parts['dbname']}"


@pytest.fixture(autouse=True)
def _migrated_again() -> Iterator[None]:
    yield
    call_command("migrate", verbosity=0)


class OldClient:
    """tests/employees/old_client.py as a process: a thread would wait for our own interpreter lock."""

    def __enter__(self) -> "OldClient":
        self.process = subprocess.Popen(  # noqa: S603 (our own script)
            [sys.executable, Path(__file__).with_name("old_client.py"), dsn()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.mark()
        return self

    def mark(self) -> tuple[int, float]:
        """Return how many were created, and the longest that one took since the last mark, in ms."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "old code's INSERT failed"
        created, worst_ms = answer.split()
        return int(created), float(worst_ms)

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def sources() -> list[tuple[object, ...]]:
    return run("SELECT profile_source, count(*), max(profile_last_updated) FROM employees GROUP BY 1 ORDER BY 1")


def table_file() -> object:
    """A rewrite gives the table another file."""
    return run("SELECT pg_relation_filenode('employees')")[0][0]


@pytest.mark.integration
@pytest.mark.alone
def test_it_works_under_load(people: None) -> None:
    run("UPDATE employees SET profile_source = 'webhook', profile_last_updated = updated_at WHERE id % 10 = 0")
    named = sources()
    migrate("0001")
    file = table_file()
    stalls: dict[str, float] = {}
    with OldClient() as client:
        for number, step in enumerate(STEPS):
            migrate(step)
            if step == HEAD:
                assert sources()[1:] == named[1:], "the archive was not restored"
            time.sleep(0.05)
            created, stalls[f"{number}: {step}"] = client.mark()
        client.process.terminate()
    print(f"\n{ROWS} rows, {created} creates meanwhile; stalls in ms: {stalls}")  # noqa: T201
    *others, longest = sorted(stalls.values())
    assert others[-1] <= LONGEST_STALL_MS, stalls
    # One lock may have been waited for in vain.
    assert longest <= migration_operations.LOCK_TIMEOUT_MS + LONGEST_STALL_MS, stalls
    assert table_file() == file, "the table was rewritten"
    assert int(str(sources()[0][1])) >= int(str(named[0][1])) + created


@pytest.mark.integration
@pytest.mark.alone
@pytest.mark.parametrize("people", [FEW], indirect=True)
def test_a_slow_reader_costs_others_one_lock_wait(people: None) -> None:
    migrate("0001")
    with psycopg.connect(dsn(), autocommit=True) as reader, OldClient() as client:
        with reader.transaction():
            reader.execute("SELECT count(*) FROM employees")
            migrating = threading.Thread(target=migrate_and_close, args=["0002"])
            migrating.start()
            time.sleep(1.2)
            assert migrating.is_alive(), "the reader was to be waited for"
        migrating.join()
        assert client.mark()[1] <= migration_operations.LOCK_TIMEOUT_MS + LONGEST_STALL_MS
        client.process.terminate()
    assert run("SELECT count(*) FROM information_schema.columns WHERE column_name = 'profile_source'") != [(0,)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("before", "after", "index"),
    [
        ("0002", "0003", "idx_employees_profile_source"),
        pytest.param("0009", "0010", "idx_employees_search", marks=pytest.mark.integration),
        pytest.param("0015", "0016", "idx_employees_scoped_search", marks=pytest.mark.integration),
    ],
)
def test_an_interrupted_index_is_rebuilt(before: str, after: str, index: str) -> None:
    migrate(before)
    run(f"CREATE INDEX {index} ON employees (first_name)")
    run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", index)
    migrate(after)
    ((is_valid, definition),) = run(
        "SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid = %s::regclass", index
    )
    assert is_valid
    assert "first_name)" not in str(definition).replace("(first_name)::text", "")


@pytest.mark.parametrize("direction", [pytest.param([], marks=pytest.mark.integration), ["--backwards"]])
def test_sqlmigrate_changes_nothing(direction: list[str]) -> None:
    migrate("0001" if not direction else HEAD)
    before = run("SELECT attname FROM pg_attribute WHERE attrelid = 'employees'::regclass")
    call_command("sqlmigrate", "employees", "0002", *direction, stdout=io.StringIO())
    assert run("SELECT attname FROM pg_attribute WHERE attrelid = 'employees'::regclass") == before
