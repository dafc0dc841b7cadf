"""A Redis that is slow and not dead: each round trip succeeds, and all of them together keep the bounds of answers."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
import redis as redis_py
from django.test import Client
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config.lib import redis_connection
from config.postgres.base import DeadlineConnection
from config.web import READY_SECONDS
from employees.models import University
from profiles import cache
from profiles.tasks import refill_cache
from tests import limits
from tests.profiles.people import add_profile
from tests.servers import FaultyServer
from tests.slow_proxy import SlowProxy

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]

# PROFILE_CACHE_TIMEOUT and what the contract allows for the rest.
PROFILE_SECONDS = 3.3
# In seconds, for each round trip; the last one is longer than REDIS_TIMEOUT.
DELAYS = (0.15, 0.3, 0.45, 0.6)


@pytest.fixture
def proxy(redis: redis_py.Redis, redis_server: FaultyServer) -> Iterator[SlowProxy]:
    """Return a proxy through which the cache's Redis is reached."""
    target = urlsplit(redis_server.url)
    proxy = SlowProxy((target.hostname or "", target.port or 6379))
    pool = redis.connection_pool
    own = pool.connection_kwargs
    pool.disconnect()
    pool.reset()
    pool.connection_kwargs = own | {"host": "127.0.0.1", "port": proxy.port}
    yield proxy
    pool.connection_kwargs = own
    pool.disconnect()
    pool.reset()
    proxy.close()


@pytest.fixture
def impatient(
    settings: Settings, product_limits: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Wait for Redis as the product does, and for PostgreSQL as long as this machine needs."""
    for name, value in limits.PRODUCT_SETTINGS.items():
        setattr(settings, name, value)
    product_limits("monitoring.api.views")
    monkeypatch.delattr(DeadlineConnection, "wait")
    limits.hurry_redis()
    yield
    limits.wait_for_redis()


def waited(proxy: SlowProxy, since: float) -> list[float]:
    return [delay for at, delay in proxy.waits if at >= since]


@contextmanager
def waits_within(seconds: float, proxy: SlowProxy) -> Iterator[None]:
    """Bound the waits for Redis: what a busy machine adds is no fault of the deadline."""
    started = time.monotonic()
    yield
    # The deadline cuts the last one short.
    assert sum(waited(proxy, started)[:-1]) < seconds


@pytest.mark.long
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "new connection"])
@pytest.mark.parametrize("delay", DELAYS)
def test_answers_in_time(
    api: APIClient,
    client: Client,
    university: University,
    redis: redis_py.Redis,
    proxy: SlowProxy,
    delay: float,
    is_connected: bool,
) -> None:
    add_profile("7", "Иван", "Петров")
    refill_cache()
    assert client.get("/ready").json()["cache"]
    if not is_connected:
        redis.connection_pool.disconnect()
    proxy.delay = delay
    for _ in range(2):
        with waits_within(READY_SECONDS, proxy):
            answer = client.get("/ready")
        assert (answer.status_code, answer.json()["database"]) == (200, True)
        if not answer.json()["cache"]:
            assert (answer.json()["status"], answer.json()["reason"]) == ("degraded", "Redis: timed out")
        cache._lease.forget()
        with waits_within(PROFILE_SECONDS, proxy):
            assert api.get("/profiles/7").json()["display_name"] == "Иван Петров"
    body = {"phone": "+79165550142", "max_id": "7", "university_id": university.pk}
    with waits_within(PROFILE_SECONDS, proxy):
        created = api.post("/employees", body, format="json")
    assert (created.status_code, created.json()["first_name"]) == (201, "Иван")


def test_a_little_slow_is_no_fault(client: Client, proxy: SlowProxy) -> None:
    add_profile("7")
    proxy.delay = 0.1
    for _ in range(3):
        started = time.monotonic()
        assert client.get("/ready").json() == {"status": "ok", "database": True, "cache": True}
        read_at = time.monotonic()
        assert cache.read("7") is not None
        assert sum(waited(proxy, started)) - sum(waited(proxy, read_at)) < READY_SECONDS - 0.2
        assert sum(waited(proxy, read_at)) < limits.PRODUCT_SETTINGS["PROFILE_CACHE_TIMEOUT"].total_seconds() / 3


@pytest.mark.long
def test_the_limit_covers_connecting_and_all_commands(redis: redis_py.Redis, proxy: SlowProxy) -> None:
    proxy.delay = 0.2
    for limit in (0.1, 0.5, 0.7):
        redis.connection_pool.disconnect()
        with waits_within(limit + 0.1, proxy), suppress(redis_py.TimeoutError), redis_connection.time_limit(limit):
            while True:
                redis.ping()
    with redis_connection.time_limit(0), redis_connection.time_limit(60, is_extra=True):
        assert redis.ping()
    assert redis.ping()
