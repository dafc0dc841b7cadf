import socket
import struct
import threading
import time
from contextlib import suppress
from datetime import UTC, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from redis import Redis

from config.lib import redis_connection
from profiles import cache
from profiles.cache import CacheError
from profiles.cache.cached_profile import CachedProfile
from profiles.merge import ProfileUpdate, TimestampedValue
from profiles.models import Profile
from profiles.tasks import refill_cache
from tests.limits import REDIS_SECONDS
from tests.profiles.people import add_profile, cached
from tests.servers import FaultyServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def test_it_writes_the_json_of_the_contract(redis: Redis) -> None:
    now = timezone.now()
    add_profile("7", "Иван", "", at=now)
    assert cached(redis, "7") == {
        "user_id": "7",
        "max_first_name": "Иван",
        "max_last_name": "",
        "user_provided_name": "",
        "last_updated": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "source": "webhook",
    }


def test_it_lives_as_long_as_is_left_of_the_ttl(redis: Redis) -> None:
    add_profile("7", age=timedelta(hours=700))
    assert 20 * 3600 * 0.89 < redis.ttl("profile:user:7") < 20 * 3600 * 1.1


def test_a_stale_profile_is_not_cached(redis: Redis) -> None:
    add_profile("7", age=timedelta(hours=721))
    assert not redis.exists("profile:user:7")


def test_it_reads_what_it_wrote() -> None:
    profile = add_profile("7", "Иван", "Петров", "Ваня")
    assert cache.read("7") == CachedProfile.of(profile)
    assert cache.read("8") is None


@pytest.mark.long
def test_the_task_fills_an_empty_redis(redis: Redis) -> None:
    now = timezone.now()
    named = TimestampedValue(True, now, "Иван")
    Profile.objects.merge([ProfileUpdate(str(number), now, first_name=named) for number in range(1200)])
    assert refill_cache() == 1200
    assert redis.exists(*(f"profile:user:{number}" for number in range(1200))) == 1200
    assert refill_cache() == 0
    redis.flushdb()
    assert refill_cache() == 1200


@pytest.mark.long
def test_the_task_writes_again_what_redis_refused(redis_server: FaultyServer, redis: Redis) -> None:
    assert refill_cache() == 0
    add_profile("7", "Иван")
    redis_server.pause()
    profile = add_profile("7", "Пётр", is_cached=False)
    cache.write_through([profile])
    assert Profile.objects.get().is_cache_behind
    assert refill_cache() == 0
    redis_server.resume()
    cache.breaker.close()
    assert refill_cache() == 1
    assert cached(redis, "7")["max_first_name"] == "Пётр"
    assert not Profile.objects.get().is_cache_behind


def test_a_stopped_redis_costs_the_timeout_and_no_more(
    redis: Redis, redis_server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: Any = redis.connection_pool.connection_class
    connect, attempts = connections._connect, []

    def count(connection: Any) -> Any:
        attempts.append(connection)
        return connect(connection)

    monkeypatch.setattr(connections, "_connect", count)
    redis.ping()
    redis_server.pause()
    started = time.monotonic()
    with pytest.raises(CacheError):
        cache.read("7")
    assert time.monotonic() - started < REDIS_SECONDS / 2
    # Each attempt costs the timeout, and another one would need another connection.
    assert attempts == []


def test_health_reports_an_outage(redis_server: FaultyServer) -> None:
    assert cache.health()["redis_connected"] is True
    redis_server.kill()
    health = cache.health()
    assert (health["redis_connected"], health["last_error"]) == (False, "info: ConnectionError")


@pytest.mark.django_db(transaction=True)
def test_a_name_by_hand_is_served_only_when_committed(redis: Redis) -> None:
    add_profile("7", "Иван")

    def read() -> None:
        # Another process, which finds nothing in Redis and must not put the old name back.
        found.append(cache.find("7").profile)
        connection.close()

    found: list[CachedProfile | None] = []
    for error in (ZeroDivisionError, None):
        with suppress(ZeroDivisionError), transaction.atomic():
            cache.store_names("7", {"first_name": "Пётр"})
            reader = threading.Thread(target=read)
            reader.start()
            reader.join()
            assert not redis.exists("profile:user:7")
            if error:
                raise error
        if error:
            assert cache.find("7").profile == found[0]
    assert [profile and profile.max_first_name for profile in found] == ["Иван", "Иван"]
    assert cached(redis, "7")["max_first_name"] == "Пётр"


def test_an_entry_that_came_after_the_lease_is_not_served(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    add_profile("7")
    values = redis_connection.values

    def slow(client: Redis, keys: list[str]) -> object:
        found = values(client, keys)
        # Meanwhile, another process could not write a change to Redis, and the lease ended.
        Profile.objects.update(is_cache_behind=True)
        cache._lease.forget()
        return found

    monkeypatch.setattr(redis_connection, "values", slow)
    assert cache.read("7") is None


def test_a_closed_connection_sends_nothing_later(redis: Redis) -> None:
    connection = redis.connection_pool.get_connection()
    try:
        assert connection._sock
        option = connection._sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        assert struct.unpack("ii", option) == (1, 0)
    finally:
        redis.connection_pool.release(connection)
