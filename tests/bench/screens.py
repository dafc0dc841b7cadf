"""Measures the admin's pages with a million employees, profiles and updates: ``make bench-screens`` (ARGS='[rows]')."""

from tests.bench.rows import ROWS, fill, migrate, run  # sets Django up

# isort: split
import os
import statistics
import sys
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from config import wsgi  # noqa: F401 (it prepares the process as the web server does)
from monitoring.rollout_control import gates
from monitoring.stats import cached
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES
from tests.rollout.changing import change

LIMIT_MS = 150
REPEATS = 40
PATHS = [
    "/admin/",
    "/admin/live/home/",
    "/admin/rollout/",
    "/admin/live/rollout/",
    "/admin/steer/3/?percent=50",
    "/admin/steer/3/preview/?percent=50",
    "/admin/steer/pause/",
    "/admin/steer/plan/",
    "/admin/steer/on-breach/",
    "/admin/steer/rehearsal/",
    "/admin/emergency/",
    "/admin/comparisons/",
    "/admin/checklist/",
    "/admin/checklist/items/",
    "/admin/sources/",
    "/admin/sources.csv",
    "/admin/cache/",
    "/admin/live/cache/",
    "/admin/person/",
    "/admin/employees/employee/",
    "/admin/employees/employee/?q=анна",
    "/admin/employees/employee/?q=иванов500",
    "/admin/employees/employee/?profile_source__exact=api&p=50",
    f"/admin/employees/employee/{ROWS // 2}/change/",
    f"/admin/employees/employee/{ROWS // 2}/history/",
    f"/admin/employees/employee/{ROWS // 2}/delete/",
    "/admin/employees/employee/?o=1",
    "/admin/employees/employee/import/",
    "/admin/employees/employee/export/",
    "/admin/employees/university/",
    "/admin/employees/university/1/change/",
    "/admin/employees/university/1/delete/",
    "/admin/employees/backfillrun/",
    "/admin/webhooks/inboxupdate/",
    "/admin/webhooks/inboxupdate/?state__exact=dead",
    "/admin/webhooks/inboxupdate/?state__exact=quarantined",
    "/admin/webhooks/inboxupdate/?update_type=message_created&p=50",
    "/admin/webhooks/inboxupdate/?q=777",
    f"/admin/webhooks/inboxupdate/{ROWS // 2}/change/",
    "/admin/webhooks/inboxupdate/dead-letters/",
    "/admin/webhooks/inboxupdate/replay/?state__exact=dead",
    f"/admin/webhooks/inboxupdate/{ROWS // 2}/raw-body/",
    "/admin/profiles/profile/",
    "/admin/profiles/profile/?q=777",
    "/admin/profiles/profile/777/delete/",
    "/admin/profiles/comparison/",
    "/admin/rollout/change/",
    "/admin/rollout/plan/",
    "/admin/rollout/approval/",
    "/admin/employees/backfillrun/add/",
    "/admin/webhooks/replay/",
    "/admin/monitoring/gatecheck/",
    "/admin/monitoring/alert/",
    "/admin/waffle/sample/",
    "/admin/second-factor/",
    "/admin/audit/",
]
# Once more, while the banner of a held rollout counts who is served.
HELD = ["/admin/", "/admin/live/home/", "/admin/rollout/", "/admin/live/rollout/", "/admin/steer/resume/"]
_PROFILES = """
INSERT INTO profile_cache (user_id, first_name, first_name_set_at, is_first_name_real, last_name, last_name_set_at,
    user_provided_name, user_provided_name_set_at, last_updated, is_cache_behind)
SELECT n::text, 'Анна', at, true, CASE WHEN n %% 6 > 0 THEN 'Иванова' END, CASE WHEN n %% 6 > 0 THEN at END,
    CASE WHEN n %% 9 = 0 THEN 'Аня' END, CASE WHEN n %% 9 = 0 THEN at END, at, false
FROM (SELECT n, now() - (n %% 40) * interval '1 day' AS at FROM generate_series(1, %(rows)s) n) AS people
"""
_INBOX = """
INSERT INTO webhook_inbox (dedup_key, update_type, state, reason, user_id, has_names, has_changed_profile,
    received_at, finished_at, processing_ms, next_try_at)
SELECT decode(md5(n::text), 'hex'), 'message_created', CASE WHEN n %% 200 = 0 THEN 'dead' ELSE 'done' END,
    '', n::text, true, n %% 2 = 0, at, at + interval '1 second', 1.2, at
FROM (SELECT n, now() - (%(rows)s - n) * (interval '30 days' / %(rows)s) AS at
      FROM generate_series(1, %(rows)s) n) AS arrivals
"""
_COMPARISONS = """
INSERT INTO comparisons (at, key_hash, bucket, university_id, stage, outcome, pattern, cache_age_days, cache_name,
    api_name, served_source, served_ms)
SELECT now() - n * interval '12 seconds', lpad(n::text, 32, '0'), n %% 10000, 1 + n %% 20, 2 + (n %% 4 = 0)::int,
    CASE WHEN n %% 500 = 0 THEN 'conflict' WHEN n %% 9 = 0 THEN 'cache_miss' ELSE 'agree' END, '', n %% 30, 'А*** И***',
    'А*** И***', CASE WHEN n %% 4 = 0 THEN 'webhook' ELSE 'api' END, 4
FROM generate_series(1, %(rows)s) n
"""


def prepare() -> None:
    migrate()
    fill()
    run(_PROFILES, rows=ROWS)
    # Without the triggers that count arrivals.
    run("SET session_replication_role = replica")
    run(_INBOX, rows=ROWS)
    run("SET session_replication_role = DEFAULT")
    run(_COMPARISONS, rows=ROWS // 20)
    for table in ("employees", "profile_cache", "webhook_inbox", "comparisons"):
        run(f"VACUUM ANALYZE {table}")
    for name, percent in zip(PHASES, (100, 100, 25), strict=False):
        change("set", phase=name, percent=Decimal(percent), by="bench", reason="bench")
    Flag.objects.update(moved_at=timezone.now() - timedelta(days=3))
    gates.check(3, Decimal(50))


def busy_ms(backend: int) -> float:
    """Return the processor time of this process and its PostgreSQL backend, which other load does not change."""
    on_processor = int(Path(f"/proc/{backend}/schedstat").read_text().split()[0])
    return time.process_time() * 1000 + on_processor / 1e6


def measure(client: Client, path: str, repeats: int = REPEATS) -> float:
    """Print the times of a page; return the 95th percentile of its processor time, in ms."""
    backend = int(str(run("SELECT pg_backend_pid()")[0][0]))
    took, busy = [], []
    for _ in range(repeats):
        started, started_busy = time.perf_counter(), busy_ms(backend)
        answer = client.get(path)
        took.append((time.perf_counter() - started) * 1000)
        busy.append(busy_ms(backend) - started_busy)
        if answer.status_code != 200:
            raise SystemExit(f"{path}: {answer.status_code}")
    p95, busy_p95 = (statistics.quantiles(times, n=20)[18] for times in (took, busy))
    say(f"{path:40} {statistics.median(took):8.1f} {p95:8.1f} {busy_p95:14.1f}")
    return busy_p95


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    settings.ALLOWED_HOSTS, settings.DEBUG = ["*"], False
    started = time.perf_counter()
    prepare()
    say(f"{ROWS} employees, profiles and updates in {time.perf_counter() - started:.0f} s")
    for name in cached.STATISTICS:
        started = time.perf_counter()
        cached.store(name)
        say(f"counted in the background: {name:20} {(time.perf_counter() - started) * 1000:8.0f} ms")
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    say(f"{'page':40} {'p50 ms':>8} {'p95 ms':>8} {'p95 on cpu, ms':>14}")
    worst = 0.0
    for number, path in enumerate([*PATHS, *HELD]):
        if number == len(PATHS):
            change("pause", by="bench", reason="bench")
        client.get(path)
        for name in cached.STATISTICS:
            cached.store(name)
        worst = max(worst, measure(client, path))
    cores, load = os.cpu_count(), os.getloadavg()[0]
    say(f"worst p95 on the processors: {worst:.1f} ms (limit {LIMIT_MS}; load {load:.1f} on {cores} cores)")
    sys.exit(worst > LIMIT_MS)


if __name__ == "__main__":
    main()
