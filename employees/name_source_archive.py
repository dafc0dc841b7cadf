"""Move the columns that record where a name came from out of the way, and back, with their content.

Both ways rename: no row is copied or rewritten, and nothing is kept outside the database.
"""

from __future__ import annotations

from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.recorder import MigrationRecorder

from employees.models import BackfillRun, RunStatus
from profiles.rollout.models import Rollout
from profiles.rollout.rollout_settings import RolloutSettings
from profiles.rollout.rules import format_percent, phase_number

_MIGRATION = ("employees", "0002_profile_source_columns")

_ADD = """
ALTER TABLE employees
    ADD COLUMN IF NOT EXISTS profile_source varchar(20) DEFAULT 'manual' NOT NULL,
    ADD COLUMN IF NOT EXISTS profile_last_updated timestamptz
"""
# Older code does not name the columns and keeps inserting: one has a default, the other is nullable. A name that older
# code changes meanwhile is no longer from the source on record; employees.naming treats a changed name likewise.
# An archive is already there if a release that does not know it added the columns: its rows are older.
_ARCHIVE = """
ALTER TABLE employees
    DROP COLUMN IF EXISTS archived_profile_source, DROP COLUMN IF EXISTS archived_profile_last_updated;
ALTER TABLE employees RENAME COLUMN profile_source TO archived_profile_source;
ALTER TABLE employees RENAME COLUMN profile_last_updated TO archived_profile_last_updated;
CREATE OR REPLACE FUNCTION reset_archived_name_source() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.archived_profile_source := 'manual'; NEW.archived_profile_last_updated := NULL; RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER reset_archived_name_source BEFORE UPDATE ON employees FOR EACH ROW
    WHEN ((OLD.first_name, OLD.last_name, OLD.middle_name) IS DISTINCT FROM
          (NEW.first_name, NEW.last_name, NEW.middle_name))
    EXECUTE FUNCTION reset_archived_name_source()
"""
_RESTORE = """
DROP FUNCTION IF EXISTS reset_archived_name_source() CASCADE;
ALTER TABLE employees RENAME COLUMN archived_profile_source TO profile_source;
ALTER TABLE employees RENAME COLUMN archived_profile_last_updated TO profile_last_updated
"""


def refuse_unless_idle() -> None:
    """Raise CommandError, which ``migrate`` shows as one line, unless all percentages are 0 and no backfill runs."""
    controls = RolloutSettings.read(Rollout.current())
    busy = [
        f"phase {phase_number(name)} is at {format_percent(percent)} %"
        for name, percent in controls.percents.items()
        if percent
    ]
    if busy:
        raise CommandError(f"The schema goes back only with every percentage at 0: {', '.join(busy)}")
    # On the way to “zero” its table goes before the columns do.
    if "backfill_runs" not in connection.introspection.table_names():
        return
    running = BackfillRun.objects.filter(status__in=[RunStatus.RUNNING, RunStatus.UNDOING]).first()
    if running:
        raise CommandError(
            f"The schema goes back only while no backfill runs: “backfill pause” stops backfill {running.pk}"
        )


def rollback_plan(executor: MigrationExecutor) -> list[Migration]:
    """Return the applied migrations to reverse, first to last: the columns, what needs them, nothing else."""
    graph, applied = executor.loader.graph, executor.loader.applied_migrations
    return [graph.nodes[key] for key in graph.backwards_plan(_MIGRATION) if key in applied]


def roll_back() -> None:
    """Reverse the columns and their index; the rest of the directory's schema stays."""
    executor = MigrationExecutor(connection)
    executor.loader.check_consistent_history(connection)
    executor.migrate(None, plan=[(step, True) for step in rollback_plan(executor)])


def has_column(name: str = "profile_source") -> bool:
    """Return whether the table has the column; the migrations' records are no proof after a crash."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 'employees'"
            " AND table_schema = current_schema() AND column_name = %s",
            [name],
        )
        return bool(cursor.fetchone()[0])


def add_or_restore_columns() -> None:
    """Rename the archived columns back; add them where there is no archive."""
    with connection.cursor() as cursor:
        cursor.execute(_RESTORE if has_column("archived_profile_source") else _ADD)


def archive_columns() -> None:
    """Rename the columns away in the caller's transaction, where the last check of the rollout belongs too."""
    with connection.cursor() as cursor:
        # First, so that a second process waits here and then finds nothing to rename.
        cursor.execute("LOCK TABLE employees IN ACCESS EXCLUSIVE MODE")
        refuse_unless_idle()
        if has_column():
            cursor.execute(_ARCHIVE)
    # Killed before the executor records it, the columns would be gone and the migration still applied.
    MigrationRecorder(connection).record_unapplied(*_MIGRATION)
