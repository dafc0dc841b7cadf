"""Limits that all processes share in Redis, and that each process keeps by itself while Redis fails."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import redis as redis_py

from config.lib.http import throttling
from config.lib.http.throttling import TokenBuckets
from config.lib.redis_connection import LIMITS
from profiles import cache
from tests.servers import FaultyServer
from tests.waiting import within

pytestmark = pytest.mark.usefixtures("redis")


def wait_for_redis(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set how long a new client of the limits waits for Redis."""
    monkeypatch.setattr(throttling, "_REDIS_SECONDS", seconds)
    throttling._take_in_redis.cache_clear()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    wait_for_redis(60.0, monkeypatch)
    yield
    throttling._take_in_redis.cache_clear()


def allowed(buckets: list[TokenBuckets], tries: int, rate: float, burst: float) -> int:
    """Return how many of the tries in each of these processes got a token; all of them try at once."""
    with ThreadPoolExecutor(len(buckets)) as pool:
        runs = pool.map(lambda one: sum(one.take("a", rate, burst) == 0 for _ in range(tries)), buckets)
        return sum(runs)


def test_processes_share_a_limit() -> None:
    assert allowed([TokenBuckets("test") for _ in range(3)], 100, rate=0.001, burst=40) == 40
    assert TokenBuckets("test").take("a", 0.001, 40) == pytest.approx(1000, abs=100)


def test_callers_and_limits_are_apart() -> None:
    one = TokenBuckets("test")
    assert one.take("a", 0.01, 1) == 0
    assert one.take("a", 0.01, 1) > 0
    assert one.take("b", 0.01, 1) == 0
    assert TokenBuckets("other").take("a", 0.01, 1) == 0


@pytest.mark.long
def test_the_limit_is_exact_over_time() -> None:
    buckets = [TokenBuckets("test") for _ in range(3)]
    started, tokens, lost = time.monotonic(), 0, 0.0
    emptied_at = asked_at = started
    while asked_at < started + 2:
        for one in buckets:
            while one.take("a", rate=50, burst=10) == 0:
                tokens += 1
        # An empty bucket is full again after 0.2 seconds; what it would gain after that in a longer pause is lost.
        emptied_at, asked_at = asked_at, time.monotonic()
        lost += max(50 * (asked_at - emptied_at) - 9, 0)
        time.sleep(0.005)
    expected = 10 + 50 * (asked_at - started)
    assert 0.9 * expected - lost < tokens < 1.1 * expected


def test_nothing_is_left_of_callers_that_are_gone(redis: redis_py.Redis) -> None:
    TokenBuckets("test").take("a", rate=100, burst=10)
    assert redis.zcard(LIMITS) == 1
    time.sleep(0.05)
    TokenBuckets("test").take("b", rate=100, burst=10)
    assert redis.zrange(LIMITS, 0, -1) == [b"test:b"]
    assert 0 < redis.ttl(LIMITS) <= 300
    assert cache.health()["cached_profiles"] == 0


def test_a_time_from_when_the_clock_was_ahead_is_ignored(redis: redis_py.Redis) -> None:
    """The clock of Redis was an hour ahead when a caller took a token."""
    redis.zadd(LIMITS, {"test:a": time.time() + 3600})
    assert allowed([TokenBuckets("test")], 10, rate=0.01, burst=3) == 3
    assert TokenBuckets("test").take("a", 0.01, 3) == pytest.approx(100, abs=60)


def test_a_value_of_another_type_is_replaced(redis: redis_py.Redis) -> None:
    redis.set(LIMITS, "damaged")
    assert allowed([TokenBuckets("test") for _ in range(2)], 10, rate=0.01, burst=5) == 5


def test_without_redis_each_process_counts(redis_server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "_RETRY_SECONDS", 600.0)
    buckets = [TokenBuckets("test") for _ in range(2)]
    assert buckets[0].take("a", 0.01, 5) == 0
    redis_server.pause()
    wait_for_redis(0.5, monkeypatch)
    # Each process waits for Redis once, and not for each of its requests. The first one knows of the token taken.
    with within(30):
        assert allowed(buckets, 100, rate=0.001, burst=5) == 9
    redis_server.resume()
    wait_for_redis(60.0, monkeypatch)
    for one in buckets:
        one._retry_at = 0
    # The paused server still carries out what it has received, one request of each process.
    assert 2 <= allowed(buckets, 20, rate=0.01, burst=5) <= 4


def test_an_empty_bucket_stays_empty_without_redis(redis_server: FaultyServer) -> None:
    buckets = [TokenBuckets("test") for _ in range(3)]
    assert allowed(buckets, 30, rate=0.001, burst=20) == 20
    redis_server.kill()
    assert allowed(buckets, 30, rate=0.001, burst=20) == 0
    redis_server.start()


def test_a_stopped_redis_is_asked_again_later(redis_server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(throttling, "time", SimpleNamespace(monotonic=lambda: now[0]))
    one = TokenBuckets("test")
    redis_server.kill()
    assert one.take("a", 0.01, 2) == 0
    redis_server.start()
    now[0] += throttling._RETRY_SECONDS - 0.1
    assert one.take("a", 0.01, 2) == 0
    assert one.take("a", 0.01, 2) > 0
    now[0] += 0.2
    assert one.take("a", 0.01, 2) == 0
