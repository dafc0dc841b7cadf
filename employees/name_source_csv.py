"""Remove with the next release, with both calls in migration 0003 and tests/employees/test_name_source_csv.py.

Earlier releases dropped the two columns on ``rollback schema``. Their content is in a file of ``DATA_DIR/archives``,
which the comment of the table names.
"""

from __future__ import annotations

import json
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection

_BATCH = 10_000
_TABLE = "CREATE TEMP TABLE csv_archive (id int8, source text, at timestamptz, line bigserial, PRIMARY KEY (id, line))"
_COPY = "COPY csv_archive (id, source, at) FROM STDIN WITH (FORMAT csv)"
# The last line of an employee counts. Whoever was changed since the columns were dropped keeps the default.
# Only the key finds a row fast: the planner has no statistics of columns just added and takes all rows for one.
_RESTORE = """
UPDATE employees AS e SET profile_source = a.source, profile_last_updated = a.at FROM csv_archive AS a
WHERE e.id = a.id AND a.id > %(after)s AND a.id <= %(after)s + %(batch)s
    AND a.line = (SELECT max(line) FROM csv_archive WHERE id = a.id) AND (a.source <> 'manual' OR a.at IS NOT NULL)
    AND e.updated_at <= %(dropped_at)s AND e.profile_source = 'manual' AND e.profile_last_updated IS NULL
"""


def drop_log() -> None:
    """Drop what an interrupted rollback of an earlier release left: its trigger, and the table it wrote to."""
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS log_provenance() CASCADE; DROP TABLE IF EXISTS provenance_log")


def restore() -> None:
    """Fill the columns from the file, if the table's comment names one; raise CommandError if it is missing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT obj_description('employees'::regclass), (SELECT max(id) FROM employees)")
        comment, last_id = cursor.fetchone()
        if not (comment or "").startswith('{"archive": '):
            return
        note = json.loads(comment)
        path: Path = settings.DATA_DIR / "archives" / note["archive"]
        if not path.exists():
            raise CommandError(f"The archive {path} is missing; to do without it: COMMENT ON TABLE employees IS NULL")
        cursor.execute(_TABLE)
        # As text: its line ends differ, which COPY refuses.
        with path.open() as file, cursor.copy(_COPY) as copy:
            while text := file.read(2**16):
                copy.write(text)
        cursor.execute("ANALYZE csv_archive")
        for after in range(0, last_id or 0, _BATCH):
            cursor.execute(_RESTORE, {"after": after, "batch": _BATCH, "dropped_at": note["dropped_at"]})
        cursor.execute("DROP TABLE csv_archive; COMMENT ON TABLE employees IS NULL")
