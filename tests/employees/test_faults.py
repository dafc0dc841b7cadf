"""POST /employees answers 201, in time and with the right source, whatever Redis and the direct API do."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_py
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from employees.models import University, UnresolvedName
from profiles import cache
from profiles.max_api import users
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile
from tests.servers import FaultyServer

PHONE = "+79161234567"
TIMEOUT = timedelta(seconds=1)
# In seconds. Without a limit, each fault that is slow takes longer.
LATE = 20

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


def create(api: APIClient, university: University, number: int = 0, **fields: Any) -> tuple[int, str, float]:
    """Return the status, the source and the seconds it took."""
    started = time.monotonic()
    phone = f"{PHONE[:-1]}{(int(PHONE[-1]) + number) % 10}"
    answer = api.post("/employees", {"phone": phone, "university_id": university.pk} | fields, format="json")
    return answer.status_code, answer.json().get("profile_source", ""), time.monotonic() - started


def fill_memory(server: FaultyServer) -> None:
    client = redis_py.Redis.from_url(server.url)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")


def free_memory(server: FaultyServer) -> None:
    client = redis_py.Redis.from_url(server.url)
    client.config_set("maxmemory", "0")
    client.config_set("maxmemory-policy", "allkeys-lru")


def flush(server: FaultyServer) -> None:
    redis_py.Redis.from_url(server.url).flushall()


REDIS_FAULTS: dict[str, Callable[[FaultyServer], None]] = {
    "stopped": lambda server: server.pause(),
    "killed": FaultyServer.kill,
    "full": fill_memory,
    "emptied": flush,
}
DIRECT_FAULTS: dict[str, dict[str, Any]] = {
    "slow": {"drip": 0.2, "body": b'{"users": []}' + b" " * 150},
    "hanging": {"delay": LATE + 10.0},
    "429": {"status": 429, "headers": {"Retry-After": "60"}},
    "500": {"status": 500},
    "HTML": {"body": b"<html>down</html>"},
    "10 MB": {"body": b'{"users": []}' + b" " * 10_000_000},
}


@pytest.mark.long
@pytest.mark.parametrize("fault", REDIS_FAULTS)
def test_redis_is_no_fault_of_the_client(
    api: APIClient, university: University, redis_server: FaultyServer, fault: str
) -> None:
    add_profile("7")
    REDIS_FAULTS[fault](redis_server)
    try:
        for number in range(3):
            status, source, seconds = create(api, university, number, max_id="7")
            assert (status, source) == (201, "webhook")
            assert seconds < LATE
        status, source, seconds = create(api, university, 3, max_id="8")
        assert (status, source) == (201, "default")
        assert seconds < LATE
    finally:
        redis_server.resume()
        if fault == "full":
            free_memory(redis_server)


@pytest.mark.long
@pytest.mark.parametrize("fault", DIRECT_FAULTS)
def test_the_direct_api_is_no_fault_of_the_client(
    api: APIClient, university: University, direct: FakeMax, settings: Settings, fault: str
) -> None:
    settings.MAX_API_TIMEOUT = TIMEOUT
    add_profile("7")
    for name, value in DIRECT_FAULTS[fault].items():
        setattr(direct, name, value)
    status, source, seconds = create(api, university)
    assert (status, source) == (201, "default")
    assert seconds < LATE
    assert UnresolvedName.objects.count() == 1
    assert create(api, university, 1, max_id="7")[:2] == (201, "webhook")


def test_another_phones_user_is_nobody(api: APIClient, university: University, direct: FakeMax) -> None:
    direct.knows("+79160000000", 7)
    assert create(api, university)[:2] == (201, "default")
    assert not UnresolvedName.objects.exists()


@pytest.mark.long
def test_both_down_at_once(
    api: APIClient, university: University, redis_server: FaultyServer, direct: FakeMax, settings: Settings
) -> None:
    settings.MAX_API_TIMEOUT = TIMEOUT
    direct.delay = LATE + 10.0
    redis_server.pause()
    status, source, seconds = create(api, university, max_id="8")
    assert (status, source) == (201, "default")
    assert seconds < LATE


def test_the_breakers_open_after_five(
    api: APIClient,
    university: University,
    direct: FakeMax,
    redis_server: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for breaker in (users.breaker, cache.breaker):
        monkeypatch.setattr(breaker, "_reset", 60.0)
    direct.status = 500
    redis_server.kill()
    statuses = [create(api, university, number, max_id=str(number + 100))[0] for number in range(8)]
    assert statuses == [201] * 8
    assert len(direct.requests) == 5
    assert (users.breaker.state, cache.breaker.state) == ("open", "open")
