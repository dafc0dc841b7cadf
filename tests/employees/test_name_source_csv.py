"""A system whose schema an earlier release rolled back is restored from its file. Remove with the next release."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from psycopg import sql
from pytest_django.fixtures import Settings

from employees.assessment import unapplied_migrations
from employees.models import Employee, University
from tests.conftest import Phases
from tests.employees.old_client import OLD_INSERT

pytestmark = pytest.mark.django_db(transaction=True)

MOMENT = datetime(2026, 11, 27, 9, 30, 15, 123456, tzinfo=UTC)
WEBHOOK, API, NAMED, MANUAL = ("webhook", MOMENT), ("api", MOMENT), ("user_input", MOMENT), ("manual", None)


def run(statement: str | sql.Composed, *params: int | str | datetime) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)
        return list(cursor.fetchall()) if cursor.description else []


def forward() -> None:
    call_command("migrate", "employees", verbosity=0)


def sources() -> list[tuple[str, datetime | None]]:
    return list(Employee.objects.order_by("pk").values_list("profile_source", "profile_last_updated"))


@pytest.fixture
def ids(university: University) -> list[int]:
    return [Employee.objects.create(phone=f"+7916000000{n}", university=university).pk for n in range(5)]


@pytest.fixture
def archive(ids: list[int], phases: Phases, settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """Leave what an earlier release's ``rollback schema`` left: a file, its name in the table's comment, no columns."""
    settings.DATA_DIR = tmp_path
    path = tmp_path / "archives" / "employees-directory-16384-20261128T120000.000000.csv"
    path.parent.mkdir()
    at = str(MOMENT)
    copied = [(ids[0], "webhook", at), (ids[1], "api", at), (ids[2], "manual", ""), (ids[3], "api", at)]
    # Written while the copy was made: one employee twice, one who is new; and Python's csv ends lines otherwise.
    added = [(ids[0], "api", at), (ids[4], "webhook", at), (ids[1], "manual", ""), (ids[0], "user_input", at)]
    lines = [f"{pk},{source},{at}{end}" for rows, end in ((copied, "\n"), (added, "\r\n")) for pk, source, at in rows]
    path.write_bytes("".join(lines).encode())
    call_command("migrate", "employees", "0001", verbosity=0)
    run("DROP FUNCTION reset_archived_name_source() CASCADE")
    run("ALTER TABLE employees DROP COLUMN archived_profile_source, DROP COLUMN archived_profile_last_updated")
    note = json.dumps({"archive": path.name, "dropped_at": timezone.now().isoformat()})
    run(sql.SQL("COMMENT ON TABLE employees IS {}").format(sql.Literal(note)))
    yield path
    run("COMMENT ON TABLE employees IS NULL")
    forward()


def test_it_works(archive: Path) -> None:
    run(OLD_INSERT, "+79169999999")
    forward()
    assert sources() == [NAMED, MANUAL, MANUAL, API, WEBHOOK, MANUAL]
    assert run("SELECT obj_description('employees'::regclass)") == [(None,)]
    assert not unapplied_migrations()


@pytest.mark.integration
def test_a_later_change_is_not_overwritten(archive: Path, ids: list[int]) -> None:
    later = timezone.now() + timedelta(seconds=1)
    run("UPDATE employees SET first_name = 'Анна', updated_at = %s WHERE id = %s", later, ids[0])
    run("DELETE FROM employees WHERE id = %s", ids[3])
    forward()
    assert sources() == [MANUAL, MANUAL, MANUAL, WEBHOOK]


@pytest.mark.integration
def test_a_missing_file_is_named(archive: Path) -> None:
    archive.rename(archive.with_suffix(".moved"))
    with pytest.raises(CommandError, match=f"{archive.name} not found. To continue without it: COMMENT ON TABLE"):
        forward()
    archive.with_suffix(".moved").rename(archive)
    forward()
    assert sources() == [NAMED, MANUAL, MANUAL, API, WEBHOOK]


@pytest.mark.integration
def test_the_log_of_an_interrupted_rollback_is_dropped(phases: Phases, ids: list[int]) -> None:
    """The index is gone, the trigger is there, the columns are too."""
    Employee.objects.filter(pk=ids[0]).update(profile_source="api", profile_last_updated=MOMENT)
    call_command("migrate", "employees", "0002", verbosity=0)
    run("""
        CREATE TABLE provenance_log (employee_id bigint NOT NULL);
        CREATE FUNCTION log_provenance() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO provenance_log VALUES (NEW.id); RETURN NULL; END $$;
        CREATE TRIGGER log_provenance AFTER INSERT OR UPDATE OF profile_source, profile_last_updated ON employees
            FOR EACH ROW EXECUTE FUNCTION log_provenance()
    """)
    forward()
    assert run("SELECT to_regclass('provenance_log'), to_regproc('log_provenance')") == [(None, None)]
    assert sources() == [API, MANUAL, MANUAL, MANUAL, MANUAL]
