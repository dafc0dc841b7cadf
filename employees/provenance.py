"""The way back of the schema: who answered for each name is archived before its columns go, and restored with them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.recorder import MigrationRecorder
from psycopg import sql

from employees.models import BackfillRun, RunStatus
from profiles.rollout.models import Rollout
from profiles.rollout.rollout_settings import Controls
from profiles.rollout.rules import phase_number, shown

COLUMNS = ("employees", "0002_profile_source_columns")
BATCH = 10_000
# What may be left for the moment in which writers wait.
_FEW = 200
_AS_ADDED = ("manual", None)
_NOTE = '{"archive": '

Line = tuple[int, str, str | None]


def refuse_unless_idle() -> None:
    """Refuse unless every percentage is 0 and no backfill runs, or while another process goes back already.

    ``migrate`` shows it as one line.
    """
    controls = Controls.read(Rollout.current())
    busy = [
        f"phase {phase_number(name)} is at {shown(percent)} %" for name, percent in controls.percents.items() if percent
    ]
    if busy:
        raise CommandError(f"The schema goes back only with every percentage at 0: {', '.join(busy)}")
    if running := _running_backfill():
        raise CommandError(
            f"The schema goes back only while no backfill runs: “backfill pause” stops backfill {running}"
        )
    with connection.cursor() as cursor:
        # Until this process ends, or is through.
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('employees.provenance'))")
        if not cursor.fetchone()[0]:
            raise CommandError("Another process takes the schema back already")


def _running_backfill() -> int | None:
    # On the way to “zero” its table goes before the columns do.
    if "backfill_runs" not in connection.introspection.table_names():
        return None
    running = BackfillRun.objects.filter(status__in=[RunStatus.RUNNING, RunStatus.UNDOING])
    return running.values_list("pk", flat=True).first()


def way_back(executor: MigrationExecutor) -> list[Migration]:
    """Return what goes when the provenance goes, first to last: its own steps and those that join them to the rest."""
    graph, applied = executor.loader.graph, executor.loader.applied_migrations
    return [graph.nodes[key] for key in graph.backwards_plan(COLUMNS) if key in applied]


def go_back() -> None:
    """Take the way back; the rest of the directory's schema stays."""
    executor = MigrationExecutor(connection)
    executor.loader.check_consistent_history(connection)
    executor.migrate(None, plan=[(step, True) for step in way_back(executor)])


def has_columns() -> bool:
    """Tell whether the provenance is there; the migrations' records are no proof after a crash."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 'employees'"
            " AND table_schema = current_schema() AND column_name = 'profile_source'"
        )
        return bool(cursor.fetchone()[0])


def rows() -> int:
    """Count the employees by SQL: their model names columns that may be gone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM employees")
        return int(cursor.fetchone()[0])


_LOG = """
CREATE TABLE IF NOT EXISTS provenance_log (employee_id bigint NOT NULL);
CREATE OR REPLACE FUNCTION log_provenance() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO provenance_log VALUES (NEW.id); RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER log_provenance AFTER INSERT OR UPDATE OF profile_source, profile_last_updated ON employees
    FOR EACH ROW EXECUTE FUNCTION log_provenance();
"""


def log_writes() -> None:
    """Note from now on whose provenance is written; whoever was writing before has committed then."""
    with connection.cursor() as cursor:
        cursor.execute(_LOG)


def stop_log() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS log_provenance() CASCADE")
        cursor.execute("DROP TABLE IF EXISTS provenance_log")


def _folder() -> Path:
    folder: Path = settings.DATA_DIR / "archives"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _prefix() -> str:
    """Return how archives of this very database are named: ids mean nothing in another one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname || '-' || oid FROM pg_database WHERE datname = current_database()")
        return f"employees-{cursor.fetchone()[0]}-"


_COPY = """
COPY (SELECT id, profile_source, profile_last_updated FROM employees ORDER BY id) TO STDOUT WITH (FORMAT csv)
"""


def archive() -> Path:
    """Write ``(id, profile_source, profile_last_updated)`` of all employees to a file while others write on."""
    try:
        path = _folder() / f"{_prefix()}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.csv"
        with path.open("w", newline="") as file, connection.cursor() as cursor:
            with cursor.copy(_COPY) as copy:
                for data in copy:
                    file.write(str(data, "utf-8"))
            while _add_written(file) > _FEW:
                pass
            os.fsync(file.fileno())
    except OSError as error:
        raise CommandError(f"The archive cannot be written: {error.filename or path}: {error.strerror}") from None
    return path


def finish_archive() -> None:
    """Add what was written meanwhile, in the transaction in which the columns go, and note in it which archive it is.

    The note is the table's comment: it is there exactly if the columns are gone.
    """
    path = max(_folder().glob(f"{_prefix()}*.csv"))
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE employees IN ACCESS EXCLUSIVE MODE")
        refuse_unless_idle()
        with path.open("a", newline="") as file:
            if _add_written(file):
                os.fsync(file.fileno())
        cursor.execute("SELECT clock_timestamp()")
        note = json.dumps({"archive": path.name, "dropped_at": cursor.fetchone()[0].isoformat()})
        cursor.execute(sql.SQL("COMMENT ON TABLE employees IS {}").format(sql.Literal(note)))
        stop_log()
        # Killed before the executor notes it, the columns would be gone and the step still applied.
        MigrationRecorder(connection).record_unapplied(*COLUMNS)
        cursor.execute("SELECT pg_advisory_unlock_all()")


def _add_written(file: IO[str]) -> int:
    """Append the provenance of those who are noted; what is written after this look is noted anew."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM provenance_log RETURNING employee_id")
        ids = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            "SELECT id, profile_source, profile_last_updated::text FROM employees WHERE id = ANY(%s) ORDER BY id", [ids]
        )
        csv.writer(file).writerows(cursor.fetchall())
    file.flush()
    return len(ids)


def archived() -> tuple[Path, datetime] | None:
    """Return the archive that waits to be restored, and when its columns went; None when none does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT obj_description('employees'::regclass)")
        comment = cursor.fetchone()[0] or ""
    if not comment.startswith(_NOTE):
        return None
    note = json.loads(comment)
    return _folder() / note["archive"], datetime.fromisoformat(note["dropped_at"])


# What was changed while the columns were away, or since they are back, is somebody's later word.
_RESTORE = """
UPDATE employees AS e SET profile_source = a.source, profile_last_updated = a.at::timestamptz
FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS a (id, source, at)
WHERE e.id = a.id AND e.updated_at <= %s AND e.profile_source = 'manual' AND e.profile_last_updated IS NULL
"""


def restore() -> int:
    """Put the archive back, in batches; return how many employees got their provenance again."""
    waiting = archived()
    if waiting is None:
        return 0
    path, dropped_at = waiting
    if not path.exists():
        raise CommandError(f"The archive {path} is missing; to do without it: COMMENT ON TABLE employees IS NULL")
    count, lines = 0, (line for line in _latest(path) if line[1:] != _AS_ADDED)
    while batch := list(islice(lines, BATCH)):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_RESTORE, [*map(list, zip(*batch, strict=True)), dropped_at])
            count += cursor.rowcount
    with connection.cursor() as cursor:
        cursor.execute("COMMENT ON TABLE employees IS NULL")
    path.rename(path.with_suffix(".csv.restored"))
    return count


def _latest(path: Path) -> Iterator[Line]:
    """Yield the last line of each employee: the copy is ordered by id, what was written meanwhile follows it."""
    added = {line[0]: line for is_added, line in _lines(path) if is_added}
    yield from (line for is_added, line in _lines(path) if not is_added and line[0] not in added)
    yield from added.values()


def _lines(path: Path) -> Iterator[tuple[bool, Line]]:
    """Yield each line, and whether it was added to the ordered copy."""
    last, is_added = 0, False
    with path.open(newline="") as file:
        for text, source, at in csv.reader(file):
            pk = int(text)
            is_added, last = is_added or pk <= last, pk
            yield is_added, (pk, source, at or None)
