"""The product's own limits, which are generous in tests, keep what the documents promise."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config import web
from profiles.rollout import heartbeat
from tests import limits

LOCKS = limits.PRODUCT["config.postgres.locks"]
VIEWS = limits.PRODUCT["monitoring.api.views"]
ROLLBACK = limits.PRODUCT["monitoring.rollout_control.rollback"]
CHANNELS = limits.PRODUCT["monitoring.alerts.channels"] | limits.PRODUCT["monitoring.alerts.outbox"]
RECEIVER = limits.PRODUCT["webhooks.group_commit"]["DEADLINE_SECONDS"]
CACHE = limits.PRODUCT_SETTINGS["PROFILE_CACHE_TIMEOUT"].total_seconds()
REDIS = limits.PRODUCT_SETTINGS["REDIS_TIMEOUT"].total_seconds()
POOL = limits.REDIS_OPTIONS

PROMISES = [
    (
        "docs/reference/http-api.md",
        "`/health` and `/ready` still respond within a second",
        VIEWS["_READY_POSTGRES_SECONDS"] < VIEWS["_READY_SECONDS"] < web.READY_SECONDS < 1,
    ),
    (
        "docs/reference/http-api.md",
        "| a request of the API, from its last byte | 10 s,",
        1 < VIEWS["POSTGRES_TIMEOUT_SECONDS"] < 10,
    ),
    (
        "docs/reference/http-api.md",
        "Cache work takes at most `PROFILE_CACHE_TIMEOUT` + 0.3 s",
        # Whatever is left when Redis does not respond is enough for PostgreSQL.
        (POOL["socket_timeout"], POOL["socket_connect_timeout"]) == (REDIS, REDIS) and CACHE >= 3 * REDIS,
    ),
    ("docs/reference/environment.md", "| `PROFILE_CACHE_TIMEOUT` | `3s` |", (CACHE, REDIS) == (3, 0.5)),
    (
        "docs/architecture.md",
        "an update within three",
        RECEIVER + 2 * limits.PRODUCT["webhooks.inbox"]["_CANCEL_SECONDS"] < 3,
    ),
    (
        "docs/architecture.md",
        "It may use a list for one second (the *lease*)",
        limits.PRODUCT["profiles.cache.lease"]["LEASE_SECONDS"] == 1,
    ),
    (
        "docs/reference/rollout.md",
        "reads the flags from PostgreSQL once a second, so all processes have applied a change within two seconds",
        limits.PRODUCT["profiles.rollout.decision"]["MEMO_SECONDS"] == heartbeat.BEAT_SECONDS == 1,
    ),
    (
        "docs/reference/rollout.md",
        "**A change waits up to 1.5 s** for the rollout lock",
        limits.PRODUCT["profiles.rollout.lock"]["LOCK_TIMEOUT_MS"] == 1500,
    ),
    (
        "docs/reference/rollout.md",
        "three seconds is listed by name as silent",
        timedelta(seconds=3) == heartbeat.SILENT_AFTER,
    ),
    (
        "docs/how-to/runbook.md",
        "Tasks and updates that need the lock give up after two seconds",
        (LOCKS["LOCK_TIMEOUT_MS"], limits.PRODUCT["employees.backfill.batches"]["_LOCK_TIMEOUT"])
        == (2000, "SET LOCAL lock_timeout = '2s'"),
    ),
    (
        "docs/how-to/runbook.md",
        "if the standby has not confirmed them within a second",
        limits.PRODUCT["profiles.rollout.standby"]["_CONFIRM_SECONDS"] == 1,
    ),
    (
        "docs/how-to/runbook.md",
        "Any other change of the rollout takes effect at once too, but then waits for five seconds and fails",
        LOCKS["COMMIT_SECONDS"] == 5,
    ),
    (
        "docs/how-to/roll-back.md",
        "takes effect within two seconds",
        ROLLBACK["PROBE_SECONDS"] < 2 < heartbeat.SILENT_AFTER.total_seconds() < ROLLBACK["VERIFIED_WITHIN"] < 5,
    ),
    (
        "docs/how-to/webhook-configuration.md",
        "stops after three seconds or a thousand matches",
        limits.PRODUCT["webhooks.body_search"]["SECONDS"] == 3,
    ),
    (
        "docs/reference/metrics.md",
        "`/metrics` lacks the counters of the processes after a second",
        limits.PRODUCT["monitoring.stats.process_counters"]["_LOCK_SECONDS"] == 1,
    ),
    (
        "docs/reference/alerts.md",
        "has not answered completely within 5 s",
        (CHANNELS["TIMEOUT_SECONDS"], CHANNELS["CHANNEL_SECONDS"], limits.PRODUCT_SETTINGS["EMAIL_TIMEOUT"])
        == (5, 5, 5),
    ),
]


@pytest.mark.parametrize(("document", "promise", "is_kept"), PROMISES, ids=[promise for _, promise, _ in PROMISES])
def test_it_keeps_what_the_documents_promise(document: str, promise: str, is_kept: bool) -> None:
    assert promise in " ".join(Path(document).read_text().split())
    assert is_kept


@pytest.mark.parametrize("limit", limits.LIMITS, ids=[f"{limit.module}.{limit.name}" for limit in limits.LIMITS])
def test_a_test_has_more_time_than_the_product(limit: limits.Limit) -> None:
    """If it had not, the product's value has changed, and a stall of this machine would decide tests again."""
    own: Any = limits.PRODUCT[limit.module][limit.name]
    assert limit.value != own
    if isinstance(own, float | int):
        assert limit.value >= 3 * own
