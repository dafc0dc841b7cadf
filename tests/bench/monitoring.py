"""Measures each report with a thousand and with a million people, by turns: ``make bench-monitoring``.

With ``ARGS=5000000``: only the distribution by source, for that number of employees.
"""

import http.client
import os
import statistics
import sys
import time
from collections.abc import Callable

import psycopg
from psycopg.conninfo import make_conninfo
from rich.console import Console

from tests.bench.rows import migrate, run

# isort: split
from django.conf import settings
from django.db import connection
from django_redis import get_redis_connection

from employees.models import Employee, University
from monitoring.indicators import rounds
from monitoring.stats import cached, reports, rollups
from profiles.models import Profile
from tests.bench.employees import free_port, serve
from tests.bench.report import Report
from webhooks.models import InboxUpdate

FEW, MANY = 1_000, 1_000_000
UPDATES_A_PERSON = 0.3
REQUESTS = 200
LARGEST_RATIO, LARGEST_MS, RECOUNT_MS = 1.5, 50.0, 300.0
# Below this a ratio compares noise.
NOISE_MS = 3.0
LARGE_TABLES = ("employees", "profile_cache", "webhook_inbox", "webhook_repeats", "monitoring_traffic")
TOKEN = "token-of-the-measurement"
PATHS = (
    "/monitoring/profiles/coverage",
    "/monitoring/profiles/quality",
    *(f"/monitoring/webhook/stats?period={period}" for period in reports.PERIODS),
    "/monitoring/cache-health",
    "/monitoring/rollout",
    "/metrics",
    "/ready",
)

_PEOPLE = """
INSERT INTO profile_cache (user_id, first_name, first_name_set_at, is_first_name_real, last_name, last_name_set_at,
    last_updated, is_cache_behind)
SELECT n::text, 'Иван', now(), true, CASE WHEN n %% 3 > 0 THEN 'Петров' END, CASE WHEN n %% 3 > 0 THEN now() END,
    now() - n %% 45 * interval '1 day', false
FROM generate_series(%(start)s, %(stop)s) n
"""
_STAFF = """
INSERT INTO employees (phone, first_name, last_name, middle_name, max_id, role, university_id, profile_source,
    created_at, updated_at)
SELECT '+7' || (9000000000 + n), 'Иван', 'Петров', '', CASE WHEN n %% 2 = 0 THEN n::text END, '', %(university)s,
    (ARRAY['webhook', 'user_input', 'api', 'manual', 'default'])[1 + n %% 5], now(), now()
FROM generate_series(%(start)s, %(stop)s) n
"""
_UPDATES = """
INSERT INTO webhook_inbox (dedup_key, body, update_type, state, reason, user_id, has_names, has_changed_profile,
    received_at, finished_at, processing_ms, next_try_at)
SELECT sha256(n::text::bytea), '{}', (ARRAY['bot_started', 'message_created', 'message_callback'])[1 + n %% 3],
    CASE WHEN n %% 50 = 0 THEN 'dead' ELSE 'done' END, CASE WHEN n %% 50 = 0 THEN 'ValueError' ELSE '' END, n::text,
    true, n %% 2 = 0, at, at, random() * 20, at
FROM generate_series(%(start)s, %(stop)s) n,
    LATERAL (SELECT now() - (random() + 0 * n) * interval '31 days' AS at) AS moment
"""

COLUMNS = ["path", "median, few", "many", "p95, few", "many", "ratio"]
Times = dict[str, list[float]]


def grow(start: int, stop: int) -> None:
    university = University.objects.get_or_create(name="Университет")[0].pk
    run(_PEOPLE, start=start, stop=stop)
    run(_STAFF, start=start, stop=stop, university=university)
    run(_UPDATES, start=int(start * UPDATES_A_PERSON), stop=int(stop * UPDATES_A_PERSON) - 1)
    for table in ("employees", "profile_cache", "webhook_inbox"):
        run(f"VACUUM ANALYZE {table}")
    tick()


def tick() -> None:
    """Run the worker's tasks of every ten and thirty seconds."""
    rollups.roll_up()
    run("VACUUM ANALYZE monitoring_traffic")
    run("VACUUM monitoring_trafficdelta")
    cached.take()
    rounds.take_round()


def copy_database() -> str:
    """Copy the database; return the address of the copy."""
    own, name = os.environ["DATABASE_URL"], connection.settings_dict["NAME"]
    connection.close()
    with psycopg.connect(make_conninfo(own, dbname="template1"), autocommit=True) as server:
        server.execute(f"CREATE DATABASE few TEMPLATE {name}")
    return make_conninfo(own, dbname="few")


def measure(urls: list[str]) -> tuple[Times, Times]:
    """Request every path of two servers by turns, so that other load affects both alike."""
    own = os.environ["DATABASE_URL"]
    os.environ["MONITORING_TOKEN"] = TOKEN
    servers, clients = [], []
    try:
        for url in urls:
            os.environ["DATABASE_URL"] = url
            port = free_port()
            servers.append(serve("config.wsgi:application", port))
            clients.append(http.client.HTTPConnection("127.0.0.1", port))
        times: tuple[Times, Times] = ({}, {})
        for path in PATHS:
            pairs = [[request(client, path) for client in clients] for _ in range(REQUESTS + 10)][10:]
            times[0][path], times[1][path] = ([pair[side] for pair in pairs] for side in (0, 1))
        return times
    finally:
        os.environ["DATABASE_URL"] = own
        for server in servers:
            server.terminate()
            server.wait()


def request(client: http.client.HTTPConnection, path: str) -> float:
    started = time.perf_counter()
    client.request("GET", path, headers={"Host": "localhost", "Authorization": f"Bearer {TOKEN}"})
    answer = client.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status}")
    return (time.perf_counter() - started) * 1000


def p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[18]


def scans() -> dict[str, int]:
    rows = run(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY(%(names)s)", names=list(LARGE_TABLES)
    )
    return {str(name): int(str(count)) for name, count in rows}


def clocked(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def compare(report: Report, few: Times, many: Times) -> None:
    for path in PATHS:
        small, large = p95(few[path]), p95(many[path])
        ratio = large / max(small, NOISE_MS)
        medians = [f"{statistics.median(times[path]):.1f}" for times in (few, many)]
        report.add(path, *medians, f"{small:.1f}", f"{large:.1f}", f"{ratio:.2f}")
        if ratio > LARGEST_RATIO or large > LARGEST_MS:
            report.faults.append(f"{path}: p95 {large:.1f} ms, ratio {ratio:.2f}")


def distribution(report: Report) -> None:
    """Time the count of employees by source, and a report that reads it."""
    recount = min(clocked(cached.STATISTICS["employees"].compute) for _ in range(3))
    cached.take()
    took = [clocked(reports.coverage) for _ in range(50)]
    age = reports.coverage()["age_seconds"]
    report.notes.append(
        f"{Employee.objects.count():,} employees by source: p95 {p95(took):.1f} ms (≤ {LARGEST_MS:g}),"
        f" {age:g} s old; recount {recount:.0f} ms (≤ {RECOUNT_MS:g})"
    )
    if recount > RECOUNT_MS or p95(took) > LARGEST_MS:
        report.faults.append("the distribution by source is too slow")


def grow_twice(report: Report) -> None:
    grow(1, FEW)
    few_url = copy_database()
    grow(FEW + 1, MANY)
    # Scans are counted up to ten seconds late, unless the connection ends.
    connection.close()
    before = scans()
    few, many = measure([few_url, os.environ["DATABASE_URL"]])
    tables = sorted(name for name, count in scans().items() if count > before[name])
    compare(report, few, many)
    report.notes.append(
        f"{Profile.objects.count():,} profiles, {Employee.objects.count():,} employees,"
        f" {InboxUpdate.objects.count():,} updates; scanned by {len(PATHS) * REQUESTS:,} requests: "
        + (", ".join(tables) or "no table")
    )
    commands = get_redis_connection("default").info("commandstats")
    report.faults += [f"scanned: {name}" for name in tables] + ["KEYS"] * ("cmdstat_keys" in commands)


def main() -> None:
    migrate()
    # These indexes serve searches, and slow down the inserts below.
    for index in ("scoped_search", "by_last_name", "univ_created", "created_at"):
        run(f"DROP INDEX idx_employees_{index}")
    report = Report("monitoring", f"a report in ms, {FEW:,} and {MANY:,} people", COLUMNS)
    if len(sys.argv) > 1:
        university = University.objects.create(name="Университет")
        run(_STAFF, start=1, stop=int(sys.argv[1]), university=university.pk)
        run("VACUUM ANALYZE employees")
    else:
        grow_twice(report)
    distribution(report)
    Console(width=120).print(report.table())
    sys.exit("\n".join(report.faults) or None)


if __name__ == "__main__":
    settings.DEBUG = False
    connection.force_debug_cursor = False
    main()
