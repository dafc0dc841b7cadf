"""Times that the product allows, and that are generous in tests: a machine that stalls for ten seconds is no fault.

Without this, a stall would turn a hit into a miss, a 200 into a 503 and a commit into an error, in tests of quite other
things. A test that waits until such a time is over sets a shorter one, or has the product's (``product_limits``).
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any, NamedTuple

import pytest
from django.conf import settings
from django.test import override_settings
from django_redis import get_redis_connection

MINUTE = timedelta(minutes=1)
SECONDS = MINUTE.total_seconds()
MS = round(SECONDS * 1000)
# For each round trip. The product takes them from CACHES, so they are no setting that can be changed.
REDIS_SECONDS = 30.0


class Limit(NamedTuple):
    """A constant of a module, its value in tests, and what a stall that is longer than the product's value causes."""

    module: str
    name: str
    value: Any
    otherwise: str


LIMITS = [
    Limit("config.postgres.locks", "COMMIT_SECONDS", SECONDS, "a change raises CommitNotConfirmed"),
    Limit("config.postgres.locks", "LOCK_TIMEOUT_MS", MS, "an erasure that waits for a writer fails"),
    Limit("config.postgres.base", "IDLE_TIMEOUT_MS", MS, "PostgreSQL ends a transaction that waits for a thread"),
    Limit("config.scheduler", "_DEADLINE_SECONDS", SECONDS, "a beat that leads stands by"),
    Limit("profiles.cache.lease", "LEASE_SECONDS", SECONDS, "a hit becomes a miss"),
    Limit("profiles.rollout.decision", "MEMO_SECONDS", SECONDS, "the flags cost a query more"),
    Limit("profiles.rollout.heartbeat", "_DEADLINE_SECONDS", SECONDS, "a process leaves its heartbeat when it ends"),
    Limit("profiles.rollout.lock", "LOCK_TIMEOUT_MS", MS, "the second of two changes is refused"),
    Limit("profiles.rollout.standby", "_CONFIRM_SECONDS", SECONDS, "a stop warns of a standby that nobody has"),
    Limit("profiles.personal_data.erasure", "_RUN_SECONDS", SECONDS, "some erasures are left to the next run"),
    Limit("profiles.tasks", "COMPARING_SECONDS", SECONDS, "some comparisons are left to the next run"),
    Limit("employees.tasks", "SLICE_SECONDS", SECONDS, "a job is left to the next run"),
    Limit("employees.backfill.batches", "_LOCK_TIMEOUT", f"SET LOCAL lock_timeout = {MS}", "a batch fails"),
    Limit("webhooks.body_search", "SECONDS", SECONDS, "a search is incomplete"),
    Limit("webhooks.erasure", "SEARCH_SECONDS", SECONDS, "a first pass is incomplete"),
    Limit("webhooks.group_commit", "DEADLINE_SECONDS", SECONDS, "the receiver answers 503"),
    Limit("webhooks.inbox", "_CANCEL_SECONDS", SECONDS, "a connection is closed"),
    Limit("webhooks.notify", "_CONNECT_SECONDS", SECONDS, "nobody listens for ten seconds"),
    Limit("webhooks.retention", "RUN_SECONDS", SECONDS, "some rows are left to the next run"),
    Limit("monitoring.alerts.channels", "TIMEOUT_SECONDS", SECONDS, "a notification is not delivered"),
    Limit("monitoring.alerts.outbox", "CHANNEL_SECONDS", SECONDS, "some notifications are left to the next run"),
    Limit("monitoring.api.views", "POSTGRES_TIMEOUT_SECONDS", SECONDS, "a report answers 503, /metrics has fewer"),
    Limit("monitoring.api.views", "_READY_POSTGRES_SECONDS", SECONDS, "/ready answers 503"),
    # The first minute of it may go to PostgreSQL.
    Limit("monitoring.api.views", "_READY_SECONDS", 2 * SECONDS, "/ready is degraded"),
    Limit("monitoring.api.views", "_LEAST_REDIS_SECONDS", SECONDS, "Redis is missing beside PostgreSQL in /ready"),
    Limit("monitoring.indicators.rounds", "_LOCK_SECONDS", SECONDS, "two processes measure a round each"),
    Limit("monitoring.stats.process_counters", "_LOCK_SECONDS", SECONDS, "the counters are missing"),
    Limit("monitoring.rollout_control.rollback", "PROBE_SECONDS", SECONDS, "the probe has not been answered yet"),
    Limit("monitoring.rollout_control.rollback", "VERIFIED_WITHIN", SECONDS, "a stop is not verified"),
]
# The same for settings. A lookup keeps a third of PROFILE_CACHE_TIMEOUT and REDIS_TIMEOUT at its end, to refill a miss.
SETTINGS = {
    "PROFILE_CACHE_TIMEOUT": 3 * MINUTE,
    "REDIS_TIMEOUT": timedelta(seconds=REDIS_SECONDS),
    "EMAIL_TIMEOUT": SECONDS,
    "SOCIALACCOUNT_REQUESTS_TIMEOUT": SECONDS,
}
# Of requests to the fakes of MAX. Shorter than the minute after which they let a request be repeated.
MAX_API_TIMEOUT = timedelta(seconds=45)
_CACHES: dict[str, Any] = settings.CACHES
REDIS_OPTIONS: dict[str, Any] = _CACHES["default"]["OPTIONS"]["CONNECTION_POOL_KWARGS"]
PRODUCT: dict[str, dict[str, Any]] = defaultdict(dict)
for _limit in LIMITS:
    PRODUCT[_limit.module][_limit.name] = getattr(import_module(_limit.module), _limit.name)
PRODUCT_SETTINGS = {name: getattr(settings, name) for name in SETTINGS}


@contextmanager
def generous() -> Iterator[None]:
    """Apply all values of tests."""
    with pytest.MonkeyPatch.context() as patch, override_settings(**SETTINGS):
        for limit in LIMITS:
            patch.setattr(import_module(limit.module), limit.name, limit.value)
        wait_for_redis()
        yield


def have_product(patch: pytest.MonkeyPatch, module: str) -> None:
    """Give a module its own limits back."""
    for name, value in PRODUCT[module].items():
        patch.setattr(import_module(module), name, value)


def hurry_redis() -> None:
    """Limit each round trip to the cache's Redis as the product does, until wait_for_redis()."""
    assert REDIS_OPTIONS["socket_timeout"] == REDIS_OPTIONS["socket_connect_timeout"]
    wait_for_redis(REDIS_OPTIONS["socket_timeout"])


def wait_for_redis(seconds: float = REDIS_SECONDS) -> None:
    """Limit each round trip to the cache's Redis, also of connections that are open."""
    pool: Any = get_redis_connection("default").connection_pool
    pool.connection_kwargs |= {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    for connection in (*pool._available_connections, *pool._in_use_connections):
        connection.socket_timeout = connection.socket_connect_timeout = seconds
        if connection._sock:
            connection._sock.settimeout(seconds)
