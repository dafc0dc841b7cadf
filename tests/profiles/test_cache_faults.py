"""Redis that comes back from an old snapshot or refuses writes: no old name and nobody erased is served or stored."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis as redis_py
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from employees.models import Employee, University
from monitoring.alerts import engine
from monitoring.alerts.kinds import Severity
from monitoring.alerts.models import Alert
from monitoring.rollout_control.preview import explain
from profiles import breaker, cache
from profiles.cache.lease import LEASE_SECONDS, Lease
from profiles.models import Profile, Tombstone
from profiles.personal_data import erasure
from profiles.tasks import refill_cache
from tests.profiles.people import add_profile, cached
from tests.redis_refusals import REFUSALS
from tests.servers import FaultyServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]

RECOVERY_SECONDS = 5.0
ERASED, RENAMED = "4815162342", "7"
PHONE = "+79165550142"
SECRET_NAME, OLD, NEW = "Аполлинария", "Иван", "Пётр"


@pytest.fixture
def snapshots(redis_server: FaultyServer) -> Iterator[FaultyServer]:
    """Return the server, whose snapshot is removed after the test."""
    yield redis_server
    if not redis_server.child.is_alive():
        redis_server.start()
    snapshot_of(redis_server).unlink(missing_ok=True)


def snapshot_of(server: FaultyServer) -> Path:
    return Path(str(redis_py.Redis.from_url(server.url).config_get("dir")["dir"]), "dump.rdb")


def shown(api: APIClient, user_id: str) -> str:
    answer = api.get(f"/profiles/{user_id}")
    assert answer.status_code == 200
    return str(answer.json()["display_name"])


def add_both() -> None:
    add_profile(ERASED, SECRET_NAME, "Заиграева")
    add_profile(RENAMED, OLD, "")


def change_both(api: APIClient) -> None:
    assert api.delete(f"/profiles/{ERASED}").status_code == 204
    assert api.put(f"/profiles/{RENAMED}", {"max_first_name": NEW}, format="json").status_code == 200


def check_both(api: APIClient, university: University) -> None:
    """Assert that every reader has the new name and nothing of the erased person, and that none of it is stored."""
    assert shown(api, RENAMED) == NEW
    assert shown(api, ERASED) == ""
    for number, (user_id, name) in enumerate([(ERASED, "Неизвестно"), (RENAMED, NEW)]):
        phone = f"{PHONE[:-1]}{number}"
        Employee.objects.filter(phone=phone).delete()
        body = {"phone": phone, "max_id": user_id, "university_id": university.pk}
        answer = api.post("/employees", body, format="json")
        assert (answer.status_code, answer.json()["first_name"]) == (201, name)
    assert SECRET_NAME not in str(explain(f"{PHONE[:-1]}0"))
    assert not Profile.objects.filter(pk=ERASED).exists()


def ready(client: Client) -> dict[str, Any]:
    answer = client.get("/ready")
    assert answer.status_code == 200
    return dict(answer.json())


def test_erased_and_renamed_people_after_an_old_snapshot(
    api: APIClient, university: University, snapshots: FaultyServer, redis: redis_py.Redis
) -> None:
    refill_cache()
    add_both()
    redis.save()
    change_both(api)
    assert shown(api, RENAMED) == NEW
    snapshots.kill()
    snapshots.start()
    assert SECRET_NAME in cached(redis_py.Redis.from_url(snapshots.url), ERASED)["max_first_name"]
    check_both(api, university)
    refill_cache()
    assert not redis.exists(f"profile:user:{ERASED}")
    assert cached(redis, RENAMED)["max_first_name"] == NEW
    check_both(api, university)
    assert cache.read(RENAMED) is not None, "a hit again"


@pytest.mark.long
def test_a_second_restart_is_noticed_too(redis: redis_py.Redis, snapshots: FaultyServer) -> None:
    refill_cache()
    add_profile(RENAMED, OLD)
    assert cache.read(RENAMED) is not None
    for _ in range(2):
        redis.save()
        snapshots.kill()
        snapshots.start()
        assert cache.read(RENAMED) is None
        refill_cache()
        assert cache.read(RENAMED) is not None


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refused_writes(
    api: APIClient,
    client: Client,
    university: University,
    redis_server: FaultyServer,
    refusal: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redis answers every read, with what was true before."""
    refuse, reason = REFUSALS[refusal]
    add_both()
    admin = redis_py.Redis.from_url(redis_server.url)
    refill_cache()
    assert ready(client) == {"status": "ok", "database": True, "cache": True}
    with ExitStack() as fault:
        fault.enter_context(refuse(admin))
        change_both(api)
        if refusal != "OOM":  # which allows deletions
            assert cached(admin, ERASED)["max_first_name"] == SECRET_NAME
            assert cached(admin, RENAMED)["max_first_name"] == OLD
        check_both(api, university)
        assert ready(client) == {"status": "degraded", "database": True, "cache": False, "reason": f"Redis: {reason}"}
        # On a slow machine, it may be half-open again.
        assert cache.breaker.state != "closed"
        engine.check_alerts()
        alert = Alert.objects.open().get(kind="cache_connection_failed")
        assert (alert.severity, alert.text) == (Severity.CRITICAL, f"The profile cache is unavailable: {reason}")
        assert refill_cache() == 0
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + RECOVERY_SECONDS)
    monkeypatch.setattr(breaker, "time", later)
    assert ready(client)["status"] == "ok"
    refill_cache()
    check_both(api, university)
    Tombstone.objects.update(erased_at=timezone.now() - 2 * erasure.SECOND_PASS_AFTER)
    assert erasure.finish_erasures() == 1
    assert not admin.exists(f"profile:user:{ERASED}")
    assert cached(admin, RENAMED)["max_first_name"] == NEW


@pytest.mark.long
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_process_that_only_reads_finds_out(redis_server: FaultyServer, refusal: str) -> None:
    add_profile(RENAMED, OLD)
    assert cache.read(RENAMED) is not None
    with REFUSALS[refusal][0](redis_py.Redis.from_url(redis_server.url)):
        time.sleep(LEASE_SECONDS)
        with pytest.raises(cache.CacheError):
            cache.read(RENAMED)
        assert cache.breaker.state != "closed"
    cache.breaker.close()
    assert cache.read(RENAMED) is not None


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_process_with_a_lease_while_redis_hangs(
    api: APIClient, redis_server: FaultyServer, redis: redis_py.Redis
) -> None:
    """Redis answers again right after the erasure, which it has not noticed; the other process knows all the same."""
    add_profile(ERASED, SECRET_NAME)
    refill_cache()
    elsewhere = Lease(cache._readable_entries)
    assert elsewhere.permits(ERASED)
    redis_server.pause()
    try:
        started = time.monotonic()
        assert api.delete(f"/profiles/{ERASED}").status_code == 204
        assert time.monotonic() - started > LEASE_SECONDS
    finally:
        redis_server.resume()
    cache.breaker.close()
    redis.set(f"profile:user:{ERASED}", "it received the deletion all the same")
    assert not elsewhere.permits(ERASED)
    assert elsewhere.permits(RENAMED)


def test_a_write_that_failed_is_known_to_others(redis_server: FaultyServer) -> None:
    profile = add_profile(RENAMED, OLD)
    add_profile("8", OLD)
    redis_server.pause()
    assert not cache.write_through([profile])
    redis_server.resume()
    cache.breaker.close()
    assert cache.read(RENAMED) is None
    assert cache.read("8") is not None
    refill_cache()
    cache._lease.forget()
    assert cache.read(RENAMED) is not None


def test_too_many_outdated_entries_are_not_listed(redis: redis_py.Redis) -> None:
    add_profile(RENAMED, OLD)
    Profile.objects.bulk_create(
        Profile(user_id=f"n{number}", last_updated=timezone.now(), is_cache_behind=True) for number in range(1001)
    )
    assert cache.read(RENAMED) is None
    refill_cache()
    cache._lease.forget()
    assert cache.read(RENAMED) is not None


@pytest.mark.django_db(transaction=True)
def test_a_refill_does_not_restore_a_person_who_is_being_erased(redis: redis_py.Redis) -> None:
    add_profile(ERASED, SECRET_NAME, is_cached=False)
    found: list[cache.Stored] = []

    def read() -> None:
        found.append(cache.find(ERASED))
        connection.close()

    reader = threading.Thread(target=read)
    with transaction.atomic():
        erasure.erase(ERASED, by="x", reason="y")
        reader.start()
        reader.join(30)
        assert not reader.is_alive(), "the reader waited for the erasure"
    assert found[0].profile is not None, "the erasure had not been committed"
    assert not redis.exists(f"profile:user:{ERASED}")


@pytest.mark.django_db(transaction=True)
def test_a_lookup_in_flight_does_not_store_an_erased_name(
    api: APIClient, university: University, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_profile(ERASED, SECRET_NAME)
    read = cache.read

    def read_and_erase(user_id: str) -> Any:
        profile = read(user_id)
        erasure.erase(ERASED, by="x", reason="y")
        return profile

    monkeypatch.setattr(cache, "read", read_and_erase)
    body = {"phone": PHONE, "max_id": ERASED, "university_id": university.pk}
    answer = api.post("/employees", body, format="json")
    assert (answer.status_code, answer.json()["profile_source"]) == (201, "default")
    assert Employee.objects.get().first_name == "Неизвестно"
