"""Whatever stands at our keys in Redis, a lookup answers in time as if the cache were empty, and repairs it."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from redis import Redis
from rest_framework.test import APIClient

from employees.models import Employee, University
from profiles import cache
from profiles.cache.cached_profile import CachedProfile
from profiles.models import Profile
from profiles.tasks import refill_cache
from tests.profiles.people import add_profile, cached

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]

ID, NOBODY = "7", "8"
KEY = f"profile:user:{ID}"
# A machine that stalls is no fault, a lookup that waits for Redis is one: in tests, that takes 30 seconds.
SECONDS = 20.0
MARKERS = ("profiles:generation", "profiles:token", "profiles:filled_for", "profiles:probe", "profiles:progress")


def value(**changes: Any) -> dict[str, Any]:
    at = (timezone.now() - timedelta(hours=1)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    names = {"max_first_name": "Чужое", "max_last_name": "Имя", "user_provided_name": ""}
    return {"user_id": ID, **names, "last_updated": at, "source": "webhook"} | changes


def text(**changes: Any) -> str:
    return json.dumps(value(**changes))


POISON: dict[str, str | bytes] = {
    "no JSON": "not json",
    "binary": b"\xff\xfe\x00\xd8",
    "UTF-16": text().encode("utf-16"),
    "raw surrogates": text(max_first_name="@").encode().replace(b"@", b"\xed\xa0\x80"),
    "a list": "[]",
    "an empty object": "{}",
    "a text": '"x"',
    "cut off": text()[:-1],
    "another person": text(user_id=NOBODY),
    "a number as the ID": text(user_id=7),
    "no zone": text(last_updated="2026-11-25T12:00:00"),
    "no date": text(last_updated="yesterday"),
    "no time of an update": text(last_updated=None),
    "a number as the date": text(last_updated=0),
    "far in the future": text(last_updated="9999-12-31T23:59:59.999999Z"),
    "out of range in UTC": text(last_updated="0001-01-01T00:00:00+14:00"),
    "a null name": text(max_first_name=None),
    "a number as a name": text(max_last_name=1),
    "a list as a name": text(user_provided_name=["Имя"], source="user_input"),
    "NUL": text(max_first_name="a\0b"),
    "a lone surrogate": text(max_first_name="\ud800"),
    "a long name": text(max_first_name="я" * 101),
    "another source": text(source="manual"),
    "the wrong source": text(source="user_input"),
    "a field more": text(more=1),
    "100,000 levels": "[" * 100_000 + "]" * 100_000,
    "4,000 levels": '{"user_id":' + "[" * 1990 + "]" * 1990 + "}",
    "1 MB": text(max_first_name="я" * 500_000),
    "a long number": '{"user_id": ' + "9" * 4000 + "}",
}
OTHER_TYPES: dict[str, Callable[[Redis, str], Any]] = {
    "list": lambda redis, key: redis.rpush(key, "x", "y"),
    "hash": lambda redis, key: redis.hset(key, "x", "y"),
    "set": lambda redis, key: redis.sadd(key, "x"),
    "sorted set": lambda redis, key: redis.zadd(key, {"x": 1}),
    "stream": lambda redis, key: redis.xadd(key, {"x": "y"}),
}


def lookup(api: APIClient, user_id: str) -> dict[str, Any]:
    started = time.monotonic()
    answer = api.get(f"/profiles/{user_id}")
    assert time.monotonic() - started < SECONDS
    assert answer.status_code == 200
    return dict(answer.json())


def count_malformed(kind: str) -> float:
    return float(cache.malformed.labels(kind)._value.get())


def check_repaired(api: APIClient, redis: Redis) -> None:
    """Assert that the lookup of a person whose value is poisoned returns PostgreSQL's names and stores them again."""
    before = count_malformed("profile")
    assert lookup(api, ID)["display_name"] == "Иван Петров"
    assert count_malformed("profile") == before + 1
    assert cached(redis, ID)["max_first_name"] == "Иван"
    assert redis.ttl(KEY) > 0
    assert lookup(api, ID)["display_name"] == "Иван Петров"
    assert count_malformed("profile") == before + 1, "a hit"


@pytest.mark.parametrize("what", POISON)
def test_a_poisoned_value(api: APIClient, university: University, redis: Redis, what: str) -> None:
    add_profile(ID)
    redis.set(KEY, POISON[what])
    check_repaired(api, redis)
    redis.set(KEY, POISON[what])
    body = {"phone": "+79165550142", "max_id": ID, "university_id": university.pk}
    assert api.post("/employees", body, format="json").json()["first_name"] == "Иван"
    assert Employee.objects.get().profile_source == "webhook"


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_a_value_of_another_type(api: APIClient, redis: Redis, kind: str) -> None:
    add_profile(ID, is_cached=False)
    OTHER_TYPES[kind](redis, KEY)
    check_repaired(api, redis)


def test_a_value_of_a_person_without_a_profile_is_deleted(api: APIClient, redis: Redis) -> None:
    redis.set(f"profile:user:{NOBODY}", text())
    assert lookup(api, NOBODY)["source"] == "default"
    assert not redis.exists(f"profile:user:{NOBODY}")


@pytest.mark.long
def test_50_mb_cost_no_more_than_a_small_value(api: APIClient, redis: Redis) -> None:
    add_profile(ID)
    writer = Redis.from_url(django_settings.REDIS_URL)
    for make in (lambda: writer.set(KEY, b" " * 50_000_000), lambda: writer.rpush(KEY, *["x" * 100] * 400_000)):
        writer.delete(KEY)
        make()
        received = redis.info("stats")["total_net_output_bytes"]
        check_repaired(api, redis)
        assert redis.info("stats")["total_net_output_bytes"] - received < 100_000


@pytest.mark.long
@pytest.mark.parametrize(
    ("marker", "poison"),
    [
        # One of each in `make test`.
        pytest.param(marker, poison, marks=[] if row == column % len(MARKERS) else pytest.mark.integration)
        for row, marker in enumerate(MARKERS)
        for column, poison in enumerate(("list", "stream", "no JSON", "binary", "an object", "levels", "1 MB"))
    ],
)
def test_a_poisoned_marker(api: APIClient, redis: Redis, marker: str, poison: str) -> None:
    add_profile(ID)
    refill_cache()
    redis.delete(marker)
    if poison in OTHER_TYPES:
        OTHER_TYPES[poison](redis, marker)
    else:
        values = POISON | {"an object": '{"revision": -1}', "levels": "[" * 2000 + "]" * 2000}
        redis.set(marker, values[poison])
    before = count_malformed("marker")
    assert lookup(api, ID)["display_name"] == "Иван Петров"
    refill_cache()
    assert count_malformed("marker") >= before + (marker != "profiles:probe")
    after = count_malformed("marker")
    cache._lease.forget()
    assert cache.read(ID) is not None, "entries are served again"
    assert refill_cache() == 0
    assert count_malformed("marker") == after, "the marker was repaired"


_JSON: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=120),
    lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(max_size=3), items, max_size=3),
    max_leaves=5,
)
_FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys([*value(), "more"], _JSON))
_MISSING = st.sets(st.sampled_from(list(value())))
_CHANGED = st.builds(lambda fields, missing: drop(value() | fields, missing), _FIELDS, _MISSING)
_DOCUMENTS = st.builds(json.dumps, _CHANGED | _JSON, ensure_ascii=st.booleans())
_TEXTS = _DOCUMENTS.map(lambda document: document.encode("utf-8", "surrogatepass")) | st.binary(max_size=200)


def drop(fields: dict[str, Any], missing: set[str]) -> dict[str, Any]:
    return {name: field for name, field in fields.items() if name not in missing}


def check_same_as_empty(api: APIClient, redis: Redis, poison: bytes, user_id: str) -> None:
    key = f"profile:user:{user_id}"
    redis.delete(key)
    expected = lookup(api, user_id)
    redis.set(key, poison)
    given_back = CachedProfile.from_json(poison, user_id)
    if given_back is None:
        assert lookup(api, user_id) == expected
        # An empty string costs no more than an absent key, and GETRANGE cannot distinguish them.
        assert redis.get(key) != poison or not poison
    else:
        # A value that PostgreSQL could hold: it can be stored, and the answer is encoded.
        Profile.objects.create(pk="check", first_name=given_back.max_first_name, **CLOCK).delete()
        assert lookup(api, user_id)["user_id"] == user_id


CLOCK: dict[str, Any] = {"first_name_set_at": timezone.now(), "last_updated": timezone.now()}
_QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_QUICK
@given(poison=_TEXTS, user_id=st.sampled_from([ID, NOBODY]))
@example(poison=b"", user_id=ID)
def test_any_value(api: APIClient, redis: Redis, poison: bytes, user_id: str) -> None:
    add_profile_once()
    check_same_as_empty(api, redis, poison, user_id)


@pytest.mark.integration
@settings(_QUICK, max_examples=2000)
@given(poison=_TEXTS, user_id=st.sampled_from([ID, NOBODY]))
def test_many_values(api: APIClient, redis: Redis, poison: bytes, user_id: str) -> None:
    add_profile_once()
    check_same_as_empty(api, redis, poison, user_id)


def add_profile_once() -> None:
    if not Profile.objects.filter(pk=ID).exists():
        add_profile(ID)
