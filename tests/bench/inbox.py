"""Measures PostgreSQL alone: the receiver's statement over one connection, and the share of each index and trigger."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import django
import psycopg

from tests.bench.report import Report
from tests.bench.stage import Stage

_ROWS = (1, 8, 16, 32, 64, 100)
# The number of rows per statement with which indexes and triggers are measured.
_SHARED = 32
_SECONDS = 2.0
_INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = 'webhook_inbox'::regclass AND NOT indisunique ORDER BY 1
"""
BODY = b'{"update_type":"message_created","padding":"%s"}' % (b"x" * 650)


def run(stage: Stage, say: Callable[[str], None], _earlier: Path | None = None) -> list[Report]:
    os.environ.update(stage.environment)
    django.setup()
    report = Report("inbox", "PostgreSQL alone, one connection", ["rows per statement", "rows/s", "µs per row"])
    for rows in _ROWS:
        say(f"statements of {rows} rows")
        _add(report, f"{rows}", asyncio.run(_rate(rows)))
    with stage.database() as database:
        for name, definition in database.execute(_INDEXES).fetchall():
            say(f"without {name}")
            database.execute(f"DROP INDEX {name}".encode())
            _add(report, f"{_SHARED}, without {name}", asyncio.run(_rate(_SHARED)))
            database.execute(definition.encode())
        for state in ("DISABLE", "ENABLE"):
            _set_triggers(database, state)
            if state == "DISABLE":
                _add(report, f"{_SHARED}, without triggers", asyncio.run(_rate(_SHARED)))
    return [report]


def _set_triggers(database: psycopg.Connection, state: str) -> None:
    database.execute(f"ALTER TABLE webhook_inbox {state} TRIGGER USER".encode())


def _add(report: Report, name: str, rate: float) -> None:
    report.figures[name] = rate
    report.add(name, f"{rate:.0f}", f"{1e6 / rate:.0f}")


async def _rate(rows: int) -> float:
    """Return the rows that are committed per second."""
    from django.utils import timezone  # noqa: PLC0415 (the settings are those of the stage)

    from webhooks.inbox import Arrival, connect, store  # noqa: PLC0415

    async with await connect() as conn:
        stored, started = 0, time.monotonic()
        while (seconds := time.monotonic() - started) < _SECONDS:
            now = timezone.now()
            arrivals = [Arrival(os.urandom(32), None, BODY, "message_created", "", now, "0" * 32) for _ in range(rows)]
            await store(conn, arrivals)
            stored += rows
    return stored / seconds
