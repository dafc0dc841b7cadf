"""Restore the columns that ``rollback schema`` of earlier releases dropped after writing them to a CSV file.

The comment of the employees table names the file. Remove this module in the next release, together with its two calls
in migration 0003 and with tests/employees/test_name_source_csv.py.
"""

import json
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection

_BATCH = 10_000
_TABLE = "CREATE TEMP TABLE csv_archive (id int8, source text, at timestamptz, line bigserial, PRIMARY KEY (id, line))"
_COPY = "COPY csv_archive (id, source, at) FROM STDIN WITH (FORMAT csv)"
# The last line about an employee counts. Employees changed since the columns were dropped keep the default values.
# Rows are selected by id, because the planner has no statistics on the new columns and expects one row.
_RESTORE = """
UPDATE employees AS e SET profile_source = a.source, profile_last_updated = a.at FROM csv_archive AS a
WHERE e.id = a.id AND a.id > %(after)s AND a.id <= %(after)s + %(batch)s
    AND a.line = (SELECT max(line) FROM csv_archive WHERE id = a.id) AND (a.source <> 'manual' OR a.at IS NOT NULL)
    AND e.updated_at <= %(dropped_at)s AND e.profile_source = 'manual' AND e.profile_last_updated IS NULL
"""


def drop_log() -> None:
    """Drop the trigger and the table left behind by an interrupted rollback of an earlier release."""
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS log_provenance() CASCADE; DROP TABLE IF EXISTS provenance_log")


def restore() -> None:
    """Fill the columns from the CSV file that the table's comment names; raise CommandError if the file is missing.

    Do nothing if the comment names no file.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT obj_description('employees'::regclass), (SELECT max(id) FROM employees)")
        comment, last_id = cursor.fetchone()
        if not (comment or "").startswith('{"archive": '):
            return
        note = json.loads(comment)
        path: Path = settings.DATA_DIR / "archives" / note["archive"]
        if not path.exists():
            raise CommandError(f"Archive {path} not found. To continue without it: COMMENT ON TABLE employees IS NULL")
        cursor.execute(_TABLE)
        # Text mode converts the file's mixed line endings, which COPY would refuse.
        with path.open() as file, cursor.copy(_COPY) as copy:
            while text := file.read(2**16):
                copy.write(text)
        cursor.execute("ANALYZE csv_archive")
        for after in range(0, last_id or 0, _BATCH):
            cursor.execute(_RESTORE, {"after": after, "batch": _BATCH, "dropped_at": note["dropped_at"]})
        cursor.execute("DROP TABLE csv_archive; COMMENT ON TABLE employees IS NULL")
