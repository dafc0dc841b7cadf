"""An address that leads to another Redis, and then back to the first one: its entries are old, and its markers valid.

That is what happens during a maintenance of the first server, with a virtual IP address or an independent spare.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_py
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from redis.connection import parse_url
from rest_framework.test import APIClient

from config.dev import embedded
from employees.models import University
from profiles import cache
from profiles.cache import lease
from profiles.cache.lease import LEASE_SECONDS
from profiles.models import CacheGeneration, Profile, Tombstone
from profiles.personal_data import erasure
from profiles.tasks import refill_cache
from tests.profiles.people import add_profile, cached
from tests.profiles.test_cache_faults import ERASED, NEW, OLD, RENAMED, SECRET_NAME, add_both, change_both, check_both
from tests.servers import FaultyServer, servers

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


@pytest.fixture(scope="module")
def spare() -> Iterator[FaultyServer]:
    folder = Path(tempfile.mkdtemp(dir=servers.folder))
    env = embedded.environment(servers.folder)
    server = FaultyServer(
        embedded.valkey_cache(folder / "cache", folder / "cache.log", env, {"REDIS_SAVE_INTERVAL": ""})
    )
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def move(redis: redis_py.Redis, spare: FaultyServer) -> Iterator[Callable[[str], None]]:
    """Return a function that ends the connections to Redis; new ones are to the server of this URL."""
    pool = redis.connection_pool
    own = pool.connection_kwargs

    def to(url: str) -> None:
        pool.connection_kwargs = own | parse_url(url)  # type: ignore[no-untyped-call]
        pool.disconnect()
        pool.reset()

    redis_py.Redis.from_url(spare.url).flushall()
    yield to
    pool.connection_kwargs = own
    pool.disconnect()
    pool.reset()


def finish_erasures() -> None:
    Tombstone.objects.exclude(unfinished_id="").update(erased_at=timezone.now() - 2 * erasure.SECOND_PASS_AFTER)
    erasure.finish_erasures()


@pytest.mark.long
@pytest.mark.parametrize("is_refilled", [True, False], ids=["used", "hardly used"])
def test_back_to_the_first_server(
    api: APIClient,
    university: University,
    redis_server: FaultyServer,
    spare: FaultyServer,
    move: Callable[[str], None],
    is_refilled: bool,
) -> None:
    first = redis_py.Redis.from_url(redis_server.url)
    refill_cache()
    add_both()
    assert cache.read(ERASED) is not None
    move(spare.url)
    if is_refilled:
        refill_cache()
        assert cache.read(ERASED) is not None, "a hit on the other server"
    change_both(api)
    if is_refilled:
        finish_erasures()
        assert not Tombstone.objects.exclude(unfinished_id="").exists()
    move(redis_server.url)
    assert SECRET_NAME in cached(first, ERASED)["max_first_name"]
    assert cached(first, RENAMED)["max_first_name"] == OLD
    check_both(api, university)
    refill_cache()
    check_both(api, university)
    finish_erasures()
    assert not Tombstone.objects.exclude(unfinished_id="").exists()
    assert not first.exists(f"profile:user:{ERASED}")
    assert cached(first, RENAMED)["max_first_name"] == NEW
    # A lease from before the refill leaves out those who were behind then, for up to a second.
    cache._lease.forget()
    assert cache.read(RENAMED) is not None, "a hit again"


def test_changes_fail_until_nobody_reads_from_the_first_server(
    spare: FaultyServer, move: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is still connected to the first server may serve its entries for a second."""
    profile = add_profile(RENAMED, OLD)
    slept: list[float] = []

    def change(seconds: float) -> None:
        slept.append(seconds)
        assert not cache.write_through([profile])

    move(spare.url)
    monkeypatch.setattr(time, "sleep", change)
    cache.begin_generation()
    assert slept == [LEASE_SECONDS]
    assert cache.write_through([profile])


def test_a_change_on_the_first_server_while_another_generation_begins(
    redis_server: FaultyServer, spare: FaultyServer, move: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is still connected to the first server remembers for a second that its entries are served."""
    add_profile(RENAMED, OLD)
    first, second = (redis_py.Redis.from_url(server.url) for server in (redis_server, spare))
    second.set(f"profile:user:{RENAMED}", first.get(f"profile:user:{RENAMED}") or b"")

    def change(_seconds: float) -> None:
        move(redis_server.url)
        cache.write_through([add_profile(RENAMED, NEW, is_cached=False)])
        move(spare.url)

    move(spare.url)
    monkeypatch.setattr(time, "sleep", change)
    cache.begin_generation()
    assert cached(first, RENAMED)["max_first_name"] == NEW
    for _ in range(2):
        shown = cache.find(RENAMED).profile
        assert shown is not None
        assert shown.max_first_name == NEW
    assert cached(second, RENAMED)["max_first_name"] == NEW


@pytest.mark.long
def test_a_change_on_the_first_server_when_another_generation_has_begun(
    redis_server: FaultyServer,
    spare: FaultyServer,
    move: Callable[[str], None],
    product_limits: Callable[[str], None],
) -> None:
    product_limits("profiles.cache.lease")
    profile = add_profile(RENAMED, OLD)
    move(spare.url)
    cache.begin_generation()
    move(redis_server.url)
    assert not cache.write_through([profile])


def test_changes_within_a_second_read_the_generation_once(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    profile = add_profile(RENAMED, OLD)
    with django_assert_num_queries(0):
        cache.write([profile])
        cache.delete(RENAMED)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)
    with django_assert_num_queries(1):
        cache.write([profile])


@pytest.mark.long
def test_a_server_that_changes_while_its_entries_are_deleted(
    redis_server: FaultyServer, spare: FaultyServer, move: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_profile(RENAMED, OLD)
    move(spare.url)
    monkeypatch.setattr(time, "sleep", lambda _: move(redis_server.url))
    with pytest.raises(cache.CacheError):
        cache.begin_generation()
    assert cache.read(RENAMED) is None
    monkeypatch.undo()
    refill_cache()
    cache._lease.forget()
    assert cache.read(RENAMED) is not None


def test_lookups_change_no_row_until_the_next_refill(spare: FaultyServer, move: Callable[[str], None]) -> None:
    """Each would mark its person for a refill that deletes and writes all entries anyway."""
    people = ["1", "2", "3"]
    for user_id in people:
        add_profile(user_id)
    move(spare.url)
    with CaptureQueriesContext(connection) as queries:
        for user_id in people * 2:
            cache._lease.forget()
            assert cache.find(user_id).profile is not None
    statements = [query["sql"] for query in queries]
    assert [sql for sql in statements if sql.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE"))] == []
    assert not Profile.objects.filter(is_cache_behind=True).exists()


def test_workers_of_two_hosts_begin_the_same_generation(
    spare: FaultyServer, move: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins while the first one waits for the leases, and both finish."""
    profile = add_profile(RENAMED, OLD)
    hosts = ["the second one"]

    def begin_on_the_other_host(_seconds: float) -> None:
        if hosts:
            hosts.pop()
            cache.begin_generation()
            assert cache.write_through([profile])

    move(spare.url)
    monkeypatch.setattr(time, "sleep", begin_on_the_other_host)
    cache.begin_generation()
    assert hosts == []
    begun = CacheGeneration.objects.identity()
    assert cache.write_through([profile]), "what the first one has begun is served"
    cache._lease.forget()
    assert cache.read(RENAMED) is not None
    cache.begin_generation()
    assert CacheGeneration.objects.identity() == begun
    assert cache.read(RENAMED) is not None, "no entry was deleted again"
