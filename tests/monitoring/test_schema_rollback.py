"""``rollback schema`` and ``migrate`` archive the two columns in their table while others write, and restore them."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, ProgrammingError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from pytest_django.fixtures import Settings

from employees import name_source_archive
from employees.assessment import unapplied_migrations
from employees.backfill import batches
from employees.history.models import EmployeeVersion
from employees.models import BackfillRun, Employee, MaxIdJob, Membership, University
from profiles.rollout.models import Change
from tests.conftest import Phases
from tests.employees.old_client import OLD_INSERT

pytestmark = pytest.mark.django_db(transaction=True)


def by_rollback() -> None:
    call_command("rollback", "schema", "--reason", "r", stdout=io.StringIO())


def by_migrate() -> None:
    call_command("migrate", "employees", "0001", verbosity=0)


def forward() -> None:
    call_command("migrate", "employees", verbosity=0)


both_ways = pytest.mark.parametrize("go_back", [by_rollback, pytest.param(by_migrate, marks=pytest.mark.integration)])


@pytest.fixture(autouse=True)
def data_dir(settings: Settings, tmp_path: Path, phases: Phases) -> Iterator[Path]:
    """A folder that is not there: nothing may be written to it."""
    settings.DATA_DIR = tmp_path / "none"
    yield settings.DATA_DIR
    # A migration that has nothing to do still takes half a second, for the permissions of all models.
    if unapplied_migrations():
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


def run(sql: str, *params: str | int) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return list(cursor.fetchall()) if cursor.description else []


def columns() -> list[tuple[object, ...]]:
    """Return the columns in question as PostgreSQL describes them, and the trigger."""
    return run(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid) FROM pg_attribute"
        " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE attrelid = 'employees'::regclass AND NOT attisdropped AND attname ~ 'profile' ORDER BY 1"
    ) + run("SELECT tgname FROM pg_trigger WHERE tgrelid = 'employees'::regclass AND NOT tgisinternal")


def sources_of_all() -> list[tuple[str, str | None]]:
    return [(e.profile_source, str(e.profile_last_updated)) for e in Employee.objects.order_by("pk")]


def after_unapplying(name: str, act: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Act when this migration's own transactions are through and its record is still to be removed."""
    unapply: Any = Migration.unapply

    def unapply_and_act(self: Migration, *args: Any, **options: Any) -> Any:
        state = unapply(self, *args, **options)
        if self.name == name:
            act()
        return state

    patch.setattr(Migration, "unapply", unapply_and_act)


def die() -> None:
    raise KeyboardInterrupt


@pytest.mark.long
@both_ways
def test_it_works(named: list[Employee], data_dir: Path, go_back: Callable[[], None]) -> None:
    before, table, versions = sources_of_all(), columns(), list(EmployeeVersion.objects.values())
    go_back()
    assert not name_source_archive.has_column()
    assert run("SELECT to_regclass('idx_employees_profile_source')") == [(None,)]
    run(OLD_INSERT, "+79169999999")
    run("DELETE FROM employees WHERE id = %s", named[1].pk)
    forward()
    assert sources_of_all() == [before[0], before[2], ("manual", "None")]
    assert columns() == table
    assert list(EmployeeVersion.objects.values()) == versions
    assert not data_dir.exists()


@pytest.mark.long
@both_ways
def test_it_refuses_while_anything_runs(named: list[Employee], phases: Phases, go_back: Callable[[], None]) -> None:
    before = sources_of_all()
    phases(100, 100, 1)
    with pytest.raises(CommandError, match=r"Set every percentage to 0 .*: phase 1 is at 100%"):
        go_back()
    phases()
    batches.start()
    with pytest.raises(CommandError, match="Pause backfill"):
        go_back()
    BackfillRun.objects.pause("night")
    assert sources_of_all() == before
    assert not unapplied_migrations()
    go_back()


@pytest.mark.integration
def test_it_refuses_what_began_while_it_waited(
    named: list[Employee], phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is gone by then; the columns stay."""
    before = sources_of_all()
    with monkeypatch.context() as patch:
        after_unapplying("0003_profile_source_index", lambda: phases(100, 100, 1), patch)
        with pytest.raises(CommandError, match="every percentage to 0"):
            by_rollback()
    assert sources_of_all() == before
    assert len(unapplied_migrations()) == 7
    forward()
    assert not unapplied_migrations()


@pytest.mark.long
def test_only_the_columns_go(named: list[Employee], superadmin: User, university: University) -> None:
    steps = [step.name for step in name_source_archive.rollback_plan(MigrationExecutor(connection))]
    guards = [
        "0105_guarded_way_back_of_labels",
        "0104_guarded_way_back_of_requests",
        "0103_guarded_way_back_of_import_files",
        "0102_guarded_way_back_of_claims",
        "0101_guarded_way_back_of_backfills",
        "0100_guarded_way_back",
    ]
    assert steps == [*guards, "0003_profile_source_index", "0002_profile_source_columns"], (
        "a step that is no part of the archive belongs to the other branch: see 0100_guarded_way_back"
    )
    Membership.objects.create(user=superadmin, university=university)
    MaxIdJob.objects.create()
    batches.start()
    BackfillRun.objects.pause("night")
    by_rollback()
    assert [model.objects.count() for model in (Membership, MaxIdJob, BackfillRun)] == [1, 1, 1]
    MigrationExecutor(connection).loader.check_consistent_history(connection)


@pytest.mark.long
def test_it_leaves_an_audit_row(named: list[Employee]) -> None:
    by_rollback()
    change = Change.objects.latest("revision")
    assert (change.action, change.after) == ("schema", {"archived": ["profile_source", "profile_last_updated"]})


@pytest.mark.long
def test_commands_of_this_release_report_the_missing_schema(named: list[Employee]) -> None:
    by_rollback()
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"Not healthy: .*schema"):
        call_command("health", stdout=out)
    assert "schema      DOWN  unapplied migrations: 8; run migrate" in out.getvalue()
    with pytest.raises(ProgrammingError, match=r"column .*profile_source"):
        call_command("assess", stdout=out)


@pytest.mark.long
def test_a_changed_name_loses_its_archived_source(named: list[Employee]) -> None:
    """Whatever old code changes a name by; what it leaves alone keeps its source."""
    before = sources_of_all()
    by_rollback()
    run("UPDATE employees SET first_name = 'Анна' WHERE id = %s", named[0].pk)
    run("UPDATE employees SET first_name = first_name, role = 'operator', updated_at = now()")
    forward()
    assert sources_of_all() == [("manual", "None"), *before[1:]]
    Employee.objects.filter(pk=named[1].pk).update(first_name="Анна")
    assert sources_of_all()[1] == before[1]


@pytest.mark.integration
def test_two_at_once_archive_once(named: list[Employee]) -> None:
    before = sources_of_all()
    call_command("migrate", "employees", "0002", verbosity=0)

    def archive_in_turn() -> None:
        try:
            with transaction.atomic():
                name_source_archive.archive_columns()
        finally:
            connection.close()

    with ThreadPoolExecutor() as pool:
        with transaction.atomic():
            name_source_archive.archive_columns()
            second = pool.submit(archive_in_turn)
            assert wait([second], timeout=0.5).not_done
        second.result()
    forward()
    assert sources_of_all() == before


@pytest.mark.long
@pytest.mark.parametrize("resume", [pytest.param(by_rollback, marks=pytest.mark.integration), forward])
@pytest.mark.parametrize("is_renamed", [False, pytest.param(True, marks=pytest.mark.integration)])
def test_it_continues_either_way_after_a_crash(
    named: list[Employee], monkeypatch: pytest.MonkeyPatch, resume: Callable[[], None], is_renamed: bool
) -> None:
    """The index is gone; then the process dies in the columns' transaction, or after it and before the record."""
    before = sources_of_all()
    with monkeypatch.context() as patch:
        if is_renamed:
            after_unapplying("0002_profile_source_columns", die, patch)
        else:
            patch.setattr(name_source_archive, "_ARCHIVE", name_source_archive._ARCHIVE + "; SELECT 1 / 0")
        with pytest.raises((KeyboardInterrupt, DatabaseError)):
            by_rollback()
    assert name_source_archive.has_column() != is_renamed
    resume()
    forward()
    assert sources_of_all() == before
    assert not unapplied_migrations()


@pytest.mark.integration
def test_a_crash_before_the_record_of_the_restored_columns(named: list[Employee]) -> None:
    before = sources_of_all()
    by_rollback()
    name_source_archive.add_or_restore_columns()
    forward()
    assert sources_of_all() == before


@pytest.mark.integration
def test_a_newer_archive_replaces_an_older_one(named: list[Employee]) -> None:
    """A release that does not know the archive added the columns beside it."""
    by_rollback()
    run(name_source_archive._ADD)
    MigrationRecorder(connection).record_applied(*name_source_archive._MIGRATION)
    forward()
    Employee.objects.filter(pk=named[0].pk).update(profile_source="user_input")
    by_rollback()
    forward()
    assert [source for source, _ in sources_of_all()] == ["user_input", "manual", "manual"]


def test_a_dry_run_does_nothing(named: list[Employee]) -> None:
    out, before = io.StringIO(), columns()
    call_command("rollback", "schema", "--reason", "r", "--dry-run", stdout=out)
    assert "2. Rename profile_source and profile_last_updated" in out.getvalue()
    assert "Dry run: nothing was written" in out.getvalue()
    assert columns() == before
    assert not unapplied_migrations()


@pytest.mark.integration
def test_a_second_rollback_has_nothing_to_do(named: list[Employee]) -> None:
    by_rollback()
    out, before = io.StringIO(), columns()
    call_command("rollback", "schema", "--reason", "r", stdout=out)
    assert out.getvalue() == "The columns are already archived: nothing to do\n"
    assert columns() == before
