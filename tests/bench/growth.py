"""Measures the inbox over months, compressed in time: ``make bench-growth``.

Each day, updates are stored by the receiver's statement, processed by the worker's statements and pruned by the
retention task. A day has fewer rows than in production, and PostgreSQL less memory in the same proportion.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from unittest import mock

import django
import psycopg
from rich.console import Console

from config.dev.processes import stop
from tests.bench.__main__ import interrupt
from tests.bench.inbox import BODY
from tests.bench.report import Report
from tests.bench.stage import Stage, cpu_of, staged

DAY = timedelta(days=1)
START = datetime(2030, 1, 1, tzinfo=UTC)
# What a day of production is: these rows, and a checkpoint every five minutes with PostgreSQL's default memory.
PRODUCTION_ROWS, PRODUCTION_BUFFERS_KIB = 1_000_000, 128 * 1024
ROWS_PER_CHECKPOINT = PRODUCTION_ROWS // 288
ROWS_PER_STATEMENT = 100
PEOPLE = 10_000
# If the cost of a full table grows by more than this, the inbox has to be partitioned. What each table costs while it
# fills does not count: it ends after a month.
MOST_DRIFT = 0.2
WEEK = 7
# For a report, which compares the first third with the last.
LEAST_DAYS = 3

# Found before PostgreSQL's own: what the worker finishes is finished at the simulated time.
_CLOCK = """
CREATE SCHEMA growth;
CREATE FUNCTION growth.now() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN current_setting('growth.now')::timestamptz;
CREATE FUNCTION growth.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE RETURN growth.now();
ALTER TABLE webhook_inbox SET (autovacuum_enabled = off);
CREATE EXTENSION IF NOT EXISTS pgstattuple;
"""
_SEARCH_PATH = "SET search_path = growth, pg_catalog, public"
# The rule of autovacuum, which itself would look once a minute: in this time, days pass.
_NEEDS_VACUUM = """
SELECT n_dead_tup > current_setting('autovacuum_vacuum_threshold')::float
        + current_setting('autovacuum_vacuum_scale_factor')::float * greatest(reltuples, 0)
    OR n_ins_since_vacuum > current_setting('autovacuum_vacuum_insert_threshold')::float
        + current_setting('autovacuum_vacuum_insert_scale_factor')::float * greatest(reltuples, 0)
FROM pg_stat_user_tables JOIN pg_class ON pg_class.oid = relid WHERE relid = 'webhook_inbox'::regclass
"""
_SIZES = """
SELECT tuple_count, pg_table_size('webhook_inbox'), pg_indexes_size('webhook_inbox'),
    (dead_tuple_len + free_space)::float / greatest(table_len, 1),
    (SELECT avg_leaf_density / 100 FROM pgstatindex('webhook_inbox_dedup_key'))
FROM pgstattuple('webhook_inbox')
"""


@dataclass
class Cost:
    """Seconds of the clock and of the processors (this process and PostgreSQL's) for a number of rows."""

    rows: int = 0
    seconds: float = 0.0
    cpu: float = 0.0

    def us(self, name: str) -> float:
        return float(getattr(self, name)) / self.rows * 1e6 if self.rows else 0.0

    @contextmanager
    def measured(self, backend: int) -> Iterator[None]:
        started, cpu = time.monotonic(), cpu_of(backend) + time.process_time()
        yield
        self.seconds += time.monotonic() - started
        self.cpu += cpu_of(backend) + time.process_time() - cpu


@dataclass
class Day:
    """What a day cost, and the inbox at its end; ``bloat`` is the share of dead and free space in the table."""

    insert: Cost = field(default_factory=Cost)
    process: Cost = field(default_factory=Cost)
    # Of bodies that are removed and of rows that are deleted.
    prune: Cost = field(default_factory=Cost)
    vacuum_seconds: float = 0.0
    rows: int = 0
    table_bytes: int = 0
    index_bytes: int = 0
    bloat: float = 0.0
    # Of the unique index that recognises duplicates.
    leaf_density: float = 0.0


class Simulation:
    def __init__(self, stage: Stage, rows: int) -> None:
        self.stage, self.rows = stage, rows
        self._database = self._prepare()

    def _prepare(self) -> psycopg.Connection:
        buffers = max(PRODUCTION_BUFFERS_KIB * self.rows // PRODUCTION_ROWS, 2048)
        with self.stage.database() as database:
            database.execute(f"ALTER SYSTEM SET shared_buffers = '{buffers}kB'".encode())
            database.execute(_CLOCK)
        postgres = next(child for child in self.stage.running if child.name == "postgres")
        stop([postgres], seconds=30)
        self.stage.running.remove(postgres)
        self.stage.start(postgres, self._answers)
        os.environ.update(self.stage.environment)
        django.setup()
        return self.stage.database()

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError), self.stage.database():
            return True
        return False

    def run(self, days: int, say: Callable[[list[Day]], None]) -> None:
        done = list[Day]()
        for number in range(days):
            done.append(self._live(START + number * DAY))
            say(done)

    def _live(self, midnight: datetime) -> Day:
        from django.conf import settings  # noqa: PLC0415 (the settings are those of the stage)
        from django.db import connection  # noqa: PLC0415

        from webhooks.inbox import connect  # noqa: PLC0415

        day = Day()
        with asyncio.Runner() as runner, mock.patch("django.utils.timezone.now", return_value=midnight + DAY):
            inbox = runner.run(connect())
            with connection.cursor() as cursor:
                cursor.execute(_SEARCH_PATH)
                cursor.execute("SELECT set_config('growth.now', %s, false)", [str(midnight + DAY)])
            for first in range(0, self.rows, ROWS_PER_CHECKPOINT):
                self._database.execute("CHECKPOINT")
                count = min(ROWS_PER_CHECKPOINT, self.rows - first)
                self._store(runner, inbox, day.insert, midnight + DAY * (first / self.rows), count)
                self._process(day.process)
            self._prune(day.prune)
            if midnight - START > settings.INBOX_BODY_RETENTION and not day.prune.rows:
                raise RuntimeError("the retention task deletes nothing, so the figures are not those of a system")
            # PostgreSQL counts what a session has done when the session is idle or ends.
            runner.run(inbox.close())
            connection.close()
        self._vacuum(day)
        self._measure(day)
        return day

    def _store(self, runner: asyncio.Runner, inbox: Any, cost: Cost, at: datetime, count: int) -> None:
        from webhooks.inbox import Arrival, store  # noqa: PLC0415

        arrivals = [Arrival(os.urandom(32), None, BODY, "message_created", "", at, "0" * 32) for _ in range(count)]
        statements = [arrivals[n : n + ROWS_PER_STATEMENT] for n in range(0, count, ROWS_PER_STATEMENT)]
        with cost.measured(inbox.info.backend_pid):
            for statement in statements:
                runner.run(store(inbox, statement))
        cost.rows += count

    def _process(self, cost: Cost) -> None:
        from django.db import connection, transaction  # noqa: PLC0415

        from webhooks.models import InboxUpdate, State  # noqa: PLC0415
        from webhooks.processing import BATCH  # noqa: PLC0415

        with cost.measured(connection.connection.info.backend_pid):
            while True:
                with transaction.atomic():
                    updates = InboxUpdate.objects.take(BATCH)
                    for update in updates:
                        update.state, update.user_id, update.has_names = State.DONE, str(update.pk % PEOPLE), True
                        update.processing_ms = 0.2
                    InboxUpdate.objects.finish(updates)
                cost.rows += len(updates)
                if len(updates) < BATCH:
                    return

    def _prune(self, cost: Cost) -> None:
        from django.db import connection  # noqa: PLC0415

        from webhooks import retention  # noqa: PLC0415

        self._database.execute("CHECKPOINT")
        with cost.measured(connection.connection.info.backend_pid):
            while pruned := sum(retention.prune()):
                cost.rows += pruned

    def _vacuum(self, day: Day) -> None:
        row = self._database.execute(_NEEDS_VACUUM).fetchone()
        if row and row[0]:
            started = time.monotonic()
            self._database.execute("VACUUM (ANALYZE) webhook_inbox")
            day.vacuum_seconds = time.monotonic() - started

    def _measure(self, day: Day) -> None:
        row = self._database.execute(_SIZES).fetchone()
        if row is None:
            raise AssertionError("an aggregate has a row")
        day.rows, day.table_bytes, day.index_bytes, day.bloat, day.leaf_density = row


@dataclass(frozen=True)
class Drift:
    """The median of a figure in an early and in the last week."""

    name: str
    unit: str
    early: float
    late: float
    is_full: bool = True

    @property
    def share(self) -> float:
        return self.late / self.early - 1 if self.early else 0.0


def _becomes_full(days: list[Day], pruning: int) -> bool:
    return len(days) >= pruning + 2 * min(WEEK, len(days) // 3)


def drifts(days: list[Day], pruning: int) -> list[Drift]:
    """Return how figures have changed from day ``pruning`` on, when rows are deleted and the table keeps its size.

    Also return how the processor times have changed from the first week on, while the table was filling.
    """
    week, becomes_full = min(WEEK, len(days) // 3), _becomes_full(days, pruning)
    full = days[pruning:] if becomes_full else days[-2 * week :]

    def drift(name: str, unit: str, figure: Callable[[Day], float], is_full: bool = True) -> Drift:
        among = full if is_full else days
        return Drift(
            name, unit, median(map(figure, among[:week])), median(map(figure, among[-week:])), is_full and becomes_full
        )

    return [
        drift("insert, processor, from an empty table", "µs/row", lambda day: day.insert.us("cpu"), is_full=False),
        drift("take, processor, from an empty table", "µs/row", lambda day: day.process.us("cpu"), is_full=False),
        drift("insert", "µs/row", lambda day: day.insert.us("seconds")),
        drift("take and finish", "µs/row", lambda day: day.process.us("seconds")),
        drift("prune", "µs/row", lambda day: day.prune.us("seconds")),
        drift("insert, processor", "µs/row", lambda day: day.insert.us("cpu")),
        drift("take and finish, processor", "µs/row", lambda day: day.process.us("cpu")),
        drift("prune, processor", "µs/row", lambda day: day.prune.us("cpu")),
        drift("table", "bytes/row", lambda day: day.table_bytes / day.rows),
        drift("indexes", "bytes/row", lambda day: day.index_bytes / day.rows),
    ]


def report_of(days: list[Day], rows: int, pruning: int) -> Report:
    report = Report(
        "growth",
        f"{len(days)} days of {rows:,} updates",
        [
            "day",
            "rows",
            "table MB",
            "indexes MB",
            "free or dead",
            "leaves full",
            "insert µs",
            "take µs",
            "prune µs",
            "vacuum s",
        ],
        notes=[
            f"PostgreSQL has {PRODUCTION_BUFFERS_KIB // 1024} MB of buffers for each {PRODUCTION_ROWS:,} updates a day"
        ],
    )
    shown = sorted({0, 2, WEEK - 1, *range(pruning - 1, len(days), 10), len(days) - 1})
    for number in (number for number in shown if number < len(days)):
        day = days[number]
        costs = (f"{cost.us('seconds'):.0f}" if cost.rows else "" for cost in (day.insert, day.process, day.prune))
        sizes = (f"{size / 1e6:.1f}" for size in (day.table_bytes, day.index_bytes))
        vacuum = f"{day.vacuum_seconds:.1f}" if day.vacuum_seconds else ""
        report.add(number + 1, f"{day.rows:,}", *sizes, f"{day.bloat:.0%}", f"{day.leaf_density:.0%}", *costs, vacuum)
    found = drifts(days, pruning)
    for drift in found:
        report.notes.append(f"{drift.name}: {drift.early:.0f} → {drift.late:.0f} {drift.unit}, {drift.share:+.0%}")
    too_far = [drift.name for drift in found if drift.is_full and drift.share > MOST_DRIFT]
    if _becomes_full(days, pruning):
        report.notes.append(f"Partition the inbox: {', '.join(too_far)}." if too_far else "No partitions are needed.")
    else:
        report.notes.append("The run ended before the table was full, so it cannot decide on partitions.")
    report.figures = {
        "rows_per_day": rows,
        "days": [asdict(day) for day in days],
        "drifts": [asdict(drift) | {"share": drift.share} for drift in found],
    }
    return report


def _from(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return number


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--days", type=_from(LEAST_DAYS), default=90, help="simulated days (90)")
    parser.add_argument("--rows", type=_from(1000), default=30_000, help="updates a day (30000)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    # SIGINT too: a process that a script starts in the background ignores it by default.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    progress, started, days = Console(stderr=True), time.monotonic(), list[Day]()

    def say(done: list[Day]) -> None:
        days[:] = done
        left = (time.monotonic() - started) / len(done) * (options.days - len(done))
        megabytes = (done[-1].table_bytes + done[-1].index_bytes) / 1e6
        place = f"day {len(done)} of {options.days}"
        progress.print(f"{place}: {done[-1].rows:,} rows, {megabytes:.0f} MB; {left:.0f} s left")

    try:
        with staged() as stage:
            Simulation(stage, options.rows).run(options.days, say)
    except KeyboardInterrupt:
        if len(days) < LEAST_DAYS:
            sys.exit("interrupted")
        progress.print("interrupted: the report is of the days that have passed")
    from django.conf import settings  # noqa: PLC0415 (the settings are those of the stage)

    report = report_of(days, options.rows, settings.INBOX_EVENT_RETENTION.days + 1)
    if options.json:
        sys.stdout.write(json.dumps(report.figures, indent=2) + "\n")
    else:
        Console().print(report.table())


if __name__ == "__main__":
    main()
