"""The backfill of a million rows beside a client: ``python -m tests.servers python -m tests.bench.backfill [rows]``."""

import subprocess
import sys
import time

from tests.bench.rows import ROWS, fill, migrate, run

# isort: split
from employees import backfill
from employees.models import BackfillRun

LEAST_ROWS_A_SECOND = 3_000
MOST_TIMES_SLOWER = 2.0
_PROFILES = """
INSERT INTO profile_cache (user_id, first_name, first_name_set_at, is_first_name_real, last_name, last_name_set_at,
    last_updated, is_cache_behind)
SELECT max_id, 'Имя' || id %% 1000, now(), true, 'Фамилия' || id %% 5000, now(), now(), false FROM employees
"""


def mark(client: "subprocess.Popen[str]") -> tuple[float, float]:
    if client.stdin is None or client.stdout is None:
        raise SystemExit("the client has no pipes")
    client.stdin.write("\n")
    client.stdin.flush()
    _, p50, p99 = client.stdout.readline().split()
    return float(p50), float(p99)


def work(backfill_run: BackfillRun) -> float:
    started = time.perf_counter()
    while backfill.step(backfill_run):
        time.sleep(backfill_run.pause_ms / 1000)
    return time.perf_counter() - started


def main() -> None:
    migrate()
    fill()
    run("UPDATE employees SET first_name = 'Неизвестно', last_name = 'Неизвестно', max_id = id::text")
    run(_PROFILES.replace("%%", "%"))
    run("VACUUM ANALYZE")
    checksum = "SELECT md5(string_agg(md5(e.first_name || e.last_name || e.profile_source), '' ORDER BY id))"
    before = run(f"{checksum} FROM employees e WHERE phone LIKE '+79%'")
    client = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.creator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    time.sleep(5)
    mark(client)
    time.sleep(15)
    base_p50, base_p99 = mark(client)
    run_row = backfill.start()
    seconds = work(run_row)
    p50, p99 = mark(client)
    rate = ROWS / seconds
    sys.stdout.write(
        f"{run_row.rows_changed} of {ROWS} rows in {seconds:.0f} s: {rate:.0f} rows/s, "
        f"last batch {run_row.batch_size}\n"
        f"creates p50 {base_p50:.1f} -> {p50:.1f} ms, p99 {base_p99:.1f} -> {p99:.1f} ms\n"
    )
    client.terminate()
    run_row.undo()
    seconds = work(run_row)
    is_same = run(f"{checksum} FROM employees e WHERE phone LIKE '+79%'") == before
    sys.stdout.write(f"undone in {seconds:.0f} s, byte-identical: {is_same}\n")
    sys.exit(not (rate >= LEAST_ROWS_A_SECOND and p99 <= MOST_TIMES_SLOWER * base_p99 and is_same))


if __name__ == "__main__":
    main()
