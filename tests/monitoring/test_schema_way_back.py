"""The schema's way back: only the provenance goes, archived, while others write; and what is written is not lost."""

import io
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from pytest_django.fixtures import Settings

from employees import provenance
from employees.backfill import batches
from employees.models import BackfillRun, Employee, MaxIdJob, Membership, University
from tests.conftest import Phases
from tests.employees.old_client import OLD_INSERT

pytestmark = pytest.mark.django_db(transaction=True)


def by_rollback() -> None:
    call_command("rollback", "schema", "--reason", "r", stdout=io.StringIO())


def by_migrate() -> None:
    call_command("migrate", "employees", "0001", verbosity=0)


def forward() -> None:
    call_command("migrate", "employees", verbosity=0)


both_ways = pytest.mark.parametrize("go_back", [by_rollback, by_migrate])


@pytest.fixture(autouse=True)
def archives(settings: Settings, tmp_path: Path, phases: Phases) -> Iterator[Path]:
    settings.DATA_DIR = tmp_path
    yield tmp_path / "archives"
    run("COMMENT ON TABLE employees IS NULL")
    forward()


@pytest.fixture
def named(university: University) -> list[Employee]:
    now = timezone.now()
    return [
        Employee.objects.create(
            phone=f"+7916000000{number}",
            university=university,
            profile_source=source,
            profile_last_updated=None if source == "manual" else now,
        )
        for number, source in enumerate(["webhook", "api", "manual"])
    ]


def run(sql: str, *params: str | int | datetime) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return list(cursor.fetchall()) if cursor.description else []


def provenance_of_all() -> list[tuple[str, str | None]]:
    return [(e.profile_source, str(e.profile_last_updated)) for e in Employee.objects.order_by("pk")]


@both_ways
def test_it_goes_back_with_an_archive_and_forward_with_its_content(
    named: list[Employee], archives: Path, go_back: Callable[[], None]
) -> None:
    before = provenance_of_all()
    go_back()
    assert not provenance.has_columns()
    assert run("SELECT to_regclass('provenance_log')") == [(None,)]
    (archive,) = archives.iterdir()
    assert len(archive.read_text().splitlines()) == 3
    forward()
    assert provenance_of_all() == before
    assert [path.suffix for path in archives.iterdir()] == [".restored"]


@both_ways
def test_it_refuses_while_anything_runs(
    named: list[Employee], phases: Phases, archives: Path, go_back: Callable[[], None]
) -> None:
    before = provenance_of_all()
    phases(100, 100, 1)
    with pytest.raises(CommandError, match="The schema goes back only with every percentage at 0: phase 1 is at 100 %"):
        go_back()
    phases()
    batches.start()
    with pytest.raises(CommandError, match="only while no backfill runs"):
        go_back()
    BackfillRun.objects.pause("night")
    assert provenance_of_all() == before
    assert not archives.exists()
    go_back()


def test_only_the_provenance_goes(named: list[Employee], superadmin: User, university: University) -> None:
    steps = [step.name for step in provenance.way_back(MigrationExecutor(connection))]
    guards = ["0101_guarded_way_back_of_backfills", "0100_guarded_way_back"]
    assert steps == [*guards, "0003_profile_source_index", "0002_profile_source_columns"], (
        "a step that is no part of the provenance belongs to the other branch: see 0100_guarded_way_back"
    )
    Membership.objects.create(user=superadmin, university=university)
    MaxIdJob.objects.create()
    batches.start()
    BackfillRun.objects.pause("night")
    by_rollback()
    assert [model.objects.count() for model in (Membership, MaxIdJob, BackfillRun)] == [1, 1, 1]
    run(OLD_INSERT, "+79169999999")
    MigrationExecutor(connection).loader.check_consistent_history(connection)
    forward()
    assert Employee.objects.get(phone="+79169999999").profile_source == "manual"


def test_commands_of_this_release_say_that_the_schema_is_another(named: list[Employee]) -> None:
    by_rollback()
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"Not healthy: .*schema"):
        call_command("health", stdout=out)
    assert "schema      DOWN  migrations missing: 4; run migrate" in out.getvalue()
    with pytest.raises(CommandError, match=r"PostgreSQL: column .*profile_source"):
        call_command("assess", stdout=out)


def test_what_is_written_during_the_copy_is_archived(
    named: list[Employee], university: University, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = provenance.archive

    def copy_and_write() -> object:
        path = copied()
        named[0].profile_source = "user_input"
        named[0].save()
        named[1].profile_source, named[1].profile_last_updated = "manual", None
        named[1].save()
        Employee.objects.create(phone="+79160000009", university=university, profile_source="webhook")
        return path

    columns = provenance.way_back(MigrationExecutor(connection))[-1]
    monkeypatch.setattr(type(columns).operations[1], "backwards", copy_and_write)
    by_rollback()
    forward()
    assert [source for source, _ in provenance_of_all()] == ["user_input", "manual", "manual", "webhook"]


def test_a_later_word_is_not_overwritten(named: list[Employee]) -> None:
    by_rollback()
    later = timezone.now() + timedelta(seconds=1)
    run("UPDATE employees SET first_name = 'Анна', updated_at = %s WHERE id = %s", later, named[0].pk)
    run("DELETE FROM employees WHERE id = %s", named[2].pk)
    forward()
    assert [source for source, _ in provenance_of_all()] == ["manual", "api"]


def test_a_missing_archive_is_said(named: list[Employee], archives: Path) -> None:
    by_rollback()
    (archive,) = archives.iterdir()
    archive.unlink()
    with pytest.raises(CommandError, match=f"{archive.name} is missing"):
        forward()


def test_one_at_a_time(named: list[Employee]) -> None:
    parts = connection.get_connection_params()
    with psycopg.connect(f"host={parts['host']} user={parts['user']} dbname={parts['dbname']}") as other:
        other.execute("SELECT pg_advisory_lock(hashtext('employees.provenance'))")
        with pytest.raises(CommandError, match="Another process takes the schema back already"):
            by_rollback()
    by_rollback()


def test_a_way_back_that_broke_off_goes_on_either_way(
    named: list[Employee], archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = provenance_of_all()
    archives.write_text("a file where the folder has to be")
    with pytest.raises(CommandError, match="The archive cannot be written"):
        by_rollback()
    assert provenance_of_all() == before
    forward()
    assert run("SELECT to_regclass('provenance_log')") == [(None,)]
    archives.unlink()
    by_rollback()
    forward()
    assert provenance_of_all() == before


def test_a_plan_does_nothing(archives: Path) -> None:
    out = io.StringIO()
    call_command("rollback", "schema", "--reason", "r", "--dry-run", stdout=out)
    assert "Dry run: nothing was done" in out.getvalue()
    assert not archives.exists()
