"""The way back of the schema: who answered for each name is archived before its columns go, and restored with them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection, transaction

from profiles.rollout.controls import Controls
from profiles.rollout.models import Rollout
from profiles.rollout.rules import phase_number, shown

BEFORE_COLUMNS = "0001_universities_and_employees"
BATCH = 10_000


def refuse_unless_idle() -> None:
    """Refuse unless every percentage is 0; ``migrate`` shows it as one line."""
    controls = Controls.read(Rollout.current())
    busy = [
        f"phase {phase_number(name)} is at {shown(percent)} %" for name, percent in controls.percents.items() if percent
    ]
    if busy:
        raise CommandError(f"The schema goes back only with every percentage at 0: {', '.join(busy)}")


def has_columns() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM information_schema.columns WHERE table_name = 'employees'"
                       " AND table_schema = current_schema() AND column_name = 'profile_source'")  # fmt: skip
        return bool(cursor.fetchone()[0])


def rows() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM employees")
        return int(cursor.fetchone()[0])


def _prefix() -> str:
    """Return how archives of this very database are named: ids mean nothing in another one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname || '-' || oid FROM pg_database WHERE datname = current_database()")
        return f"employees-{cursor.fetchone()[0]}-"


def archives() -> list[Path]:
    """Return the archives that wait to be restored, the latest last."""
    return sorted((settings.DATA_DIR / "archives").glob(f"{_prefix()}*.csv"))


_COPY = """
COPY (SELECT id, profile_source, profile_last_updated FROM employees ORDER BY id) TO STDOUT WITH (FORMAT csv)
"""


def archive() -> Path:
    """Write ``(id, profile_source, profile_last_updated)`` of all employees to a file, in the caller's transaction.

    Writers wait from here until the columns are gone: what they wrote in between would be lost.
    """
    folder = settings.DATA_DIR / "archives"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path: Path = folder / f"{_prefix()}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.csv"
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE employees IN SHARE MODE")
        with path.open("wb") as file, cursor.copy(_COPY) as copy:
            for data in copy:
                file.write(data)
    return path


def restore() -> int:
    """Put the latest archive back, in batches; return how many employees got their provenance again."""
    waiting = archives()
    if not waiting:
        return 0
    count = 0
    for batch in _batches(waiting[-1]):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "UPDATE employees AS e SET profile_source = a.source, profile_last_updated = a.at::timestamptz"
                " FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS a (id, source, at) WHERE e.id = a.id",
                batch,
            )
            count += cursor.rowcount
    waiting[-1].rename(waiting[-1].with_suffix(".csv.restored"))
    return count


def _batches(path: Path) -> Iterator[list[list[Any]]]:
    with path.open() as file:
        while lines := [line.rstrip("\n").split(",") for _, line in zip(range(BATCH), file, strict=False)]:
            yield [[int(line[0]) for line in lines], [line[1] for line in lines], [line[2] or None for line in lines]]
