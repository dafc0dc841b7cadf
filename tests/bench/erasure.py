"""Measures an erasure with a million bodies in the inbox: ``make bench-erasure`` (ARGS=rows).

Some updates of others mention the person. None of them may be left, and nobody gets the name from the answer on.
"""

from __future__ import annotations

import logging
import sys
import time

from tests.bench.rows import ROWS, migrate, run  # sets Django up

# isort: split
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from config.postgres.base import statement_deadline
from config.rsgi.bridge import API_SECONDS
from profiles.models import Tombstone
from profiles.personal_data import erasure
from tests.conftest import client_of
from tests.profiles.people import add_profile

USER_ID, NAME, MENTIONS = "4815162342", "Аполлинария", 20
# Bodies of about 600 bytes, as those of messages; most are processed, some have failed, some wait.
_INBOX = """
INSERT INTO webhook_inbox (dedup_key, body, update_type, state, reason, user_id, received_at, next_try_at, finished_at)
SELECT decode(md5(n::text), 'hex'), convert_to(json_build_object('update_type', 'message_created', 'timestamp', n,
        'message', json_build_object('sender', json_build_object('user_id', 10000000 + n, 'first_name', 'Иван'),
            'body', json_build_object('mid', n, 'text', repeat(md5(n::text), 12)),
            'link', CASE WHEN n %% %(every)s = 7 THEN json_build_object('sender',
                json_build_object('user_id', %(user_id)s::bigint, 'first_name', %(name)s::text)) END))::text, 'UTF8'),
    'message_created', state, '', '', at, at, CASE WHEN state <> 'pending' THEN at END
FROM (SELECT n, now() - n * interval '0.2 seconds' AS at,
          CASE WHEN n %% 100 = 7 THEN 'dead' WHEN n %% 50 = 8 THEN 'pending' ELSE 'done' END AS state
      FROM generate_series(1, %(rows)s) n) AS arrivals
"""
_LEFT = "SELECT count(*) FROM webhook_inbox WHERE position(convert_to(%(name)s, 'UTF8') IN body) > 0"


def prepare() -> None:
    migrate()
    # Without the triggers that count arrivals.
    run("SET session_replication_role = replica")
    run(_INBOX, rows=ROWS, every=ROWS // MENTIONS, user_id=USER_ID, name=NAME)
    run("SET session_replication_role = DEFAULT")
    run("VACUUM ANALYZE webhook_inbox")
    add_profile(USER_ID, NAME)


def left() -> int:
    return int(str(run(_LEFT, name=NAME)[0][0]))


def finish() -> tuple[int, float]:
    """Run the task that follows, without the minute between two runs; return the runs, and their seconds together."""
    started, runs = time.perf_counter(), 0
    while Tombstone.objects.exclude(unfinished_id="").exists():
        Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
        erasure.finish_erasures()
        runs += 1
    return runs, time.perf_counter() - started


def main() -> None:
    settings.ALLOWED_HOSTS = ["*"]
    logging.disable(logging.WARNING)
    started = time.perf_counter()
    prepare()
    size = run("SELECT pg_size_pretty(pg_total_relation_size('webhook_inbox'))")[0][0]
    sys.stdout.write(
        f"{ROWS} updates with a body, {size}, {left()} mention the person ({time.perf_counter() - started:.0f} s)\n"
    )
    client = client_of(User.objects.create_superuser("root"))
    started = time.perf_counter()
    with statement_deadline(API_SECONDS):
        status = client.delete(f"/profiles/{USER_ID}").status_code
    answered = time.perf_counter() - started
    source = client.get(f"/profiles/{USER_ID}").json()["source"]
    sys.stdout.write(f"the request: {status} after {answered:.1f} s; lookup: {source}; mentions left: {left()}\n")
    runs, took = finish()
    sys.stdout.write(f"the task: {runs} runs of together {took:.1f} s, one a minute; mentions left: {left()}\n")
    sys.exit(status not in (202, 204) or source != "default" or answered > API_SECONDS or left() > 0)


if __name__ == "__main__":
    main()
