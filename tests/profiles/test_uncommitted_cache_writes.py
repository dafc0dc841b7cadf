"""Entries that a transaction wrote to Redis and did not commit: nothing of them stays."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

import psycopg
import pytest
import redis as redis_py
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import Error, connection, transaction
from django.utils import timezone

from config.lib import redis_connection
from config.postgres import base
from config.postgres.base import parameters, statement_deadline
from profiles import cache
from profiles.models import Profile, Tombstone
from profiles.personal_data import erasure
from profiles.tasks import refill_cache
from tests import limits
from tests.profiles.people import add_profile, cached
from tests.servers import FaultyServer

ERASED, RENAMED = "4815162342", "7"
SECRET_NAME, OLD, NEW = "Аполлинария", "Иван", "Пётр"
RUNS: dict[str, Callable[[], object]] = {
    "refill": refill_cache,
    "refill of one": lambda: [cache.find(user_id) for user_id in (ERASED, RENAMED)],
}


def end_session_and_change_people() -> None:
    """End the session of this thread, erase one person and rename another, as if this process was frozen meanwhile."""
    with psycopg.connect(**parameters(), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])

    def change() -> None:
        try:
            erasure.erase(ERASED, by="x", reason="y")
            Tombstone.objects.update(erased_at=timezone.now() - 2 * erasure.SECOND_PASS_AFTER)
            assert erasure.finish_erasures() == 1
            cache.store_names(RENAMED, {"first_name": NEW})
        finally:
            connection.close()

    thread = threading.Thread(target=change)
    thread.start()
    thread.join()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cache_first")
@pytest.mark.parametrize("run", RUNS)
def test_a_session_that_ended_before_the_write(
    redis: redis_py.Redis, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    """The locks ended with the session, and the process finds out when it commits."""
    add_profile(ERASED, SECRET_NAME, is_cached=False)
    add_profile(RENAMED, OLD, is_cached=False)
    refilled, write = threading.Event(), cache.write

    def freeze_and_write(profiles: list[Profile], *, operation: str = "set") -> None:
        if not refilled.is_set():
            refilled.set()
            end_session_and_change_people()
            write(profiles, operation=operation)
            assert SECRET_NAME in cached(redis, ERASED)["max_first_name"]
        else:
            write(profiles, operation=operation)

    monkeypatch.setattr(cache, "write", freeze_and_write)
    try:
        RUNS[run]()
    except Error:
        connection.close()
    assert refilled.is_set()
    assert not redis.exists(f"profile:user:{ERASED}")
    cache._lease.forget()
    shown = cache.find(RENAMED).profile
    assert shown is not None
    assert shown.max_first_name == NEW
    assert cached(redis, RENAMED)["max_first_name"] == NEW


@pytest.mark.django_db
@pytest.mark.usefixtures("cache_first")
def test_a_time_limit_between_write_and_commit(redis: redis_py.Redis) -> None:
    add_profile(RENAMED, OLD, is_cached=False)
    with suppress(SoftTimeLimitExceeded), cache.refilling(Profile.objects.all()):
        assert cached(redis, RENAMED)["max_first_name"] == OLD
        raise SoftTimeLimitExceeded
    assert not redis.exists(f"profile:user:{RENAMED}")


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cache_first")
@pytest.mark.parametrize("block", [transaction.atomic, nullcontext], ids=["in a transaction", "alone"])
def test_a_lookup_that_has_no_time_left_leaves_its_entry_to_the_refill(
    redis_server: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
    block: Callable[[], AbstractContextManager[None]],
) -> None:
    """Redis does not respond any more after it got the entry, which may be outdated later."""
    add_profile(RENAMED, OLD, is_cached=False)
    Profile.objects.update(is_cache_behind=False)
    cache.find("8")
    write = cache.write

    def hang(profiles: list[Profile], *, operation: str = "set") -> None:
        write(profiles, operation=operation)
        redis_server.pause()
        # As if a third of PROFILE_CACHE_TIMEOUT was over now.
        redis_connection._deadline.set(time.monotonic())
        base._deadline.set(time.monotonic())
        # What is left to do in the transaction takes as long as this machine needs.
        for name in ("_CANCEL_SECONDS", "GRACE_SECONDS"):
            monkeypatch.setattr(base, name, limits.SECONDS)
        raise cache.CacheError("set: TimeoutError")

    monkeypatch.setattr(cache, "write", hang)
    with block():
        found = cache.find(RENAMED)
    redis_server.resume()
    assert found.profile is not None
    assert Profile.objects.get().is_cache_behind


@pytest.mark.django_db
@pytest.mark.usefixtures("cache_first")
def test_a_lookup_that_is_late_writes_nothing(redis: redis_py.Redis) -> None:
    """What it wrote could not be withdrawn in time."""
    add_profile(RENAMED, OLD, is_cached=False)
    with statement_deadline(settings.PROFILE_CACHE_TIMEOUT.total_seconds() / 3 + 0.2):
        assert cache.find(RENAMED).profile is not None
    assert not redis.exists(f"profile:user:{RENAMED}")
    assert cache.find(RENAMED).profile is not None
    assert redis.exists(f"profile:user:{RENAMED}")
