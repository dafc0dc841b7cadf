"""A PostgreSQL that was restored from an older backup: an alert, and Redis keeps nothing that PostgreSQL lacks."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from redis import Redis
from time_machine import TimeMachineFixture

from monitoring.alerts import engine
from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from profiles import cache, restores
from profiles.models import Profile
from profiles.personal_data import erasure
from profiles.tasks import refill_cache
from tests.conftest import Phases
from tests.monitoring.alert_causes import NOON
from tests.profiles.people import add_profile
from tests.rollout.changing import change
from tests.servers import FaultyServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]

KIND = "database_restored"


@pytest.fixture
def backup() -> None:
    """Return PostgreSQL to its state before the test's changes when the test calls restore()."""
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT backup")


def restore() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ROLLBACK TO SAVEPOINT backup")


def accept(*args: str) -> str:
    out = StringIO()
    call_command("accept_restore", *args, stdout=out)
    return out.getvalue()


def check() -> Alert | None:
    engine.check_alerts()
    return Alert.objects.open().filter(kind=KIND).first()


@pytest.mark.long
def test_it_works(backup: None, redis: Redis) -> None:
    refill_cache()
    change("pause", reason="a change after the backup")
    erasure.erase("7", by="x", reason="y")
    add_profile("8", "Новое")
    now = restores.progress()
    refill_cache()
    assert check() is None
    restore()
    assert restores.progress()["revision"] == now["revision"] - 1
    refill_cache()
    alert = check()
    assert alert is not None
    assert alert.severity == "critical"
    assert alert.data == {
        "revision": now["revision"] - 1,
        "revision_before": now["revision"],
        "erasures": 0,
        "erasures_before": now["erasures"],
    }
    assert f"rollout revision {now['revision'] - 1} (previously {now['revision']})" in alert.text
    assert f"revision: {now['revision'] - 1}, before: {now['revision']}" in accept("--dry-run")
    assert rounds.measure([KIND])[KIND].level == "critical"
    assert "Accepted" in accept()
    assert rounds.measure([KIND])[KIND].level == "ok"
    assert cache.read("8") is None
    refill_cache()
    assert not redis.exists("profile:user:8"), "PostgreSQL does not have this profile"
    assert rounds.measure([KIND])[KIND].level == "ok"


@pytest.mark.parametrize("loss", ["revision", "erasures", "changes"])
def test_each_counter_is_watched(loss: str, phases: Phases) -> None:
    cache.store_progress(restores.progress() | {loss: restores.progress()[loss] + 1})
    assert rounds.measure([KIND])[KIND].level == "critical"


@pytest.mark.long
def test_it_does_not_resolve_when_the_counters_catch_up(backup: None, time_machine: TimeMachineFixture) -> None:
    """The runbook asks for an emergency stop and for repeated erasures, which raise the counters again."""
    time_machine.move_to(NOON, tick=False)
    refill_cache()
    change("pause", reason="a change after the backup")
    erasure.erase("7", by="x", reason="y")
    refill_cache()
    before = restores.progress()
    restore()
    time_machine.shift(timedelta(seconds=1))
    fired = check()
    for reason in ("a", "b"):
        change("pause", reason=reason)
        change("resume", reason=reason)
        erasure.erase("8", by="x", reason=reason)
    assert all(count > before[name] for name, count in restores.progress().items())
    for _ in range(3):
        refill_cache()
        time_machine.shift(timedelta(hours=1))
        assert check() == fired
    accept()
    refill_cache()
    assert rounds.measure([KIND])[KIND].level == "ok"


@pytest.mark.parametrize("name", ["erasures", "changes"])
def test_a_row_with_the_id_of_a_lost_one_is_no_proof(name: str, phases: Phases) -> None:
    change("pause", reason="x")
    erasure.erase("7", by="x", reason="y")
    now = restores.progress()
    cache.store_progress(now)
    assert rounds.measure([KIND])[KIND].level == "ok"
    cache.store_progress(now | {f"{name}_at": now[f"{name}_at"] + 1})
    assert rounds.measure([KIND])[KIND].level == "critical"
    refill_cache()
    assert rounds.measure([KIND])[KIND].level == "critical"


def test_what_the_previous_release_remembered_is_understood() -> None:
    change("pause", reason="x")
    erasure.erase("7", by="x", reason="y")
    now = restores.progress()
    cache.store_progress({name: now[name] for name in ("revision", "erasures")})
    assert rounds.measure([KIND])[KIND].level == "ok"
    refill_cache()
    assert cache.progress() == now
    cache.store_progress({"revision": now["revision"], "erasures": now["erasures"] + 1})
    assert rounds.measure([KIND])[KIND].level == "critical"


def test_the_memory_survives_a_restart_of_all_processes(backup: None) -> None:
    change("pause", reason="a change after the backup")
    refill_cache()
    cache._lease.forget()
    restore()
    assert rounds.measure([KIND])[KIND].level == "critical"


def test_without_redis_it_is_unknown(redis_server: FaultyServer) -> None:
    redis_server.kill()
    assert rounds.measure([KIND])[KIND].level == "error"
    with pytest.raises(CommandError, match="Redis is unavailable: get: ConnectionError"):
        accept()


def test_new_changes_do_not_alert() -> None:
    refill_cache()
    for reason in ("a", "b"):
        change("pause", reason=reason)
        change("resume", reason=reason)
    assert rounds.measure([KIND])[KIND].level == "ok"
    refill_cache()
    assert not Profile.objects.exists()
    assert rounds.measure([KIND])[KIND].level == "ok"
