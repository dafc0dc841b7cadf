"""Measures a backfill of a million rows, and how much it slows down creates.

``python -m tests.servers python -m tests.bench.backfill [rows]``; run nothing else meanwhile.
"""

import subprocess
import sys
import time

from tests.bench.rows import ROWS, fill, migrate, run

# isort: split
from rich.console import Console

from employees.backfill import batches
from employees.models import BackfillRun
from tests.bench.report import Report

LEAST_ROWS_A_SECOND = 3_000
MOST_TIMES_SLOWER = 2.0
WARMING_SECONDS, BASE_SECONDS = 5, 20
_PROFILES = """
INSERT INTO profile_cache (user_id, first_name, first_name_set_at, is_first_name_real, last_name, last_name_set_at,
    last_updated, is_cache_behind)
SELECT max_id, 'Имя' || id % 1000, now(), true, 'Фамилия' || id % 5000, now(), now(), false FROM employees
"""
# The client creates employees with phones of another country.
_CHECKSUM = """
SELECT md5(string_agg(md5(first_name || last_name || profile_source), '' ORDER BY id)) FROM employees
WHERE phone LIKE '+79%'
"""


class Client:
    """Runs tests/bench/creator.py, which creates employees without a pause."""

    def __enter__(self) -> "Client":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.creator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def mark(self) -> tuple[int, float, float]:
        """Return the number of creates since the last mark, their median and 99th percentile in ms."""
        if self.process.stdin is None or self.process.stdout is None:
            raise SystemExit("the client has no pipes")
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        count, p50, p99 = self.process.stdout.readline().split()
        return int(count), float(p50), float(p99)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def work(backfill_run: BackfillRun) -> float:
    started = time.perf_counter()
    while batches.run_batch(backfill_run):
        time.sleep(backfill_run.pause_ms / 1000)
    return time.perf_counter() - started


def measure(report: Report) -> BackfillRun:
    with Client() as client:
        time.sleep(WARMING_SECONDS)
        client.mark()
        time.sleep(BASE_SECONDS)
        base = client.mark()
        run_row = batches.start()
        seconds = work(run_row)
        beside = client.mark()
    rate, slower = ROWS / seconds, beside[2] / base[2]
    report.add("rows a second", "", f"{rate:.0f}", f"≥ {LEAST_ROWS_A_SECOND}")
    report.add("rows changed", "", run_row.rows_changed, ROWS)
    report.add("creates", base[0], beside[0], "")
    report.add("create p50, ms", f"{base[1]:.1f}", f"{beside[1]:.1f}", "")
    report.add("create p99, ms", f"{base[2]:.1f}", f"{beside[2]:.1f}", f"≤ {MOST_TIMES_SLOWER * base[2]:.1f}")
    report.notes.append(f"{seconds:.0f} s; the last batch had {run_row.batch_size} rows")
    if rate < LEAST_ROWS_A_SECOND:
        report.faults.append(f"{rate:.0f} rows/s")
    if slower > MOST_TIMES_SLOWER:
        report.faults.append(f"creates {slower:.1f} times slower")
    # The client's employees have names already.
    if run_row.rows_changed != ROWS:
        report.faults.append(f"{run_row.rows_changed} rows changed")
    return run_row


def undo(run_row: BackfillRun, before: object, report: Report) -> None:
    run_row.undo()
    seconds = work(run_row)
    is_same = run(_CHECKSUM) == before
    report.add("undone, rows a second", "", f"{ROWS / seconds:.0f}", "")
    report.add("names as before", "", "yes" if is_same else "no", "yes")
    if not is_same:
        report.faults.append("names differ after the undo")


def main() -> None:
    started = time.perf_counter()
    migrate()
    fill(nameless=True)
    run(_PROFILES)
    run("VACUUM ANALYZE profile_cache")
    before = run(_CHECKSUM)
    filled = time.perf_counter() - started
    report = Report("backfill", f"Backfill of {ROWS} employees", ["", "before", "during the backfill", "required"])
    undo(measure(report), before, report)
    report.notes.append(f"{filled:.0f} s to fill the tables, {time.perf_counter() - started:.0f} s in all")
    console = Console()
    console.print(report.table())
    for fault in report.faults:
        console.print(f"failed: {fault}")
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
