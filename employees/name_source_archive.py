"""Archive and restore the columns that record where a name came from, by renaming them, so that no row is rewritten."""

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
# The previous release inserts rows without the columns: one has a default, the other is nullable. When that release
# changes a name, the trigger sets its source to manual, as employees.naming does. An archive that exists already is
# outdated: the columns have been added again since.
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
    """Raise CommandError unless all percentages are 0 and no backfill is in progress.

    After a CommandError, ``migrate`` prints one line; after any other error, it would print a traceback.
    """
    percents = RolloutSettings.read(Rollout.current()).percents
    busy = [
        f"phase {phase_number(name)} is at {format_percent(percent)}%" for name, percent in percents.items() if percent
    ]
    if busy:
        raise CommandError(f"Set every percentage to 0 before you roll back the schema: {', '.join(busy)}")
    # When migrating to “zero”, the table of backfills is dropped before the columns.
    if "backfill_runs" not in connection.introspection.table_names():
        return
    running = BackfillRun.objects.filter(status__in=[RunStatus.RUNNING, RunStatus.UNDOING]).first()
    if running:
        raise CommandError(f"Pause backfill {running.pk} before you roll back the schema: “backfill pause”")


def rollback_plan(executor: MigrationExecutor) -> list[Migration]:
    """Return the applied migrations to reverse, in order: those that need the columns, then the one that added them."""
    graph, applied = executor.loader.graph, executor.loader.applied_migrations
    return [graph.nodes[key] for key in graph.backwards_plan(_MIGRATION) if key in applied]


def roll_back() -> None:
    """Archive the columns and drop their index; keep the rest of the database schema."""
    executor = MigrationExecutor(connection)
    executor.loader.check_consistent_history(connection)
    executor.migrate(None, plan=[(step, True) for step in rollback_plan(executor)])


def has_column(name: str = "profile_source") -> bool:
    """Return whether the employees table has the column.

    Ask PostgreSQL, because the migration records may be wrong after a crash.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 'employees'"
            " AND table_schema = current_schema() AND column_name = %s",
            [name],
        )
        return bool(cursor.fetchone()[0])


def add_or_restore_columns() -> None:
    """Rename the archived columns back, or add the columns if there is no archive."""
    with connection.cursor() as cursor:
        cursor.execute(_RESTORE if has_column("archived_profile_source") else _ADD)


def archive_columns() -> None:
    """Archive the columns in the caller's transaction; raise CommandError if the rollout or a backfill is active."""
    with connection.cursor() as cursor:
        # A second process waits here and then finds nothing to rename.
        cursor.execute("LOCK TABLE employees IN ACCESS EXCLUSIVE MODE")
        refuse_unless_idle()
        if has_column():
            cursor.execute(_ARCHIVE)
    # In the same transaction: otherwise a crash could leave the migration recorded as applied without the columns.
    MigrationRecorder(connection).record_unapplied(*_MIGRATION)
