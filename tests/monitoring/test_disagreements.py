"""What alerts, gates and pages once measured each for themselves, and differently: each case that was observed."""

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client

from monitoring.alerts import engine
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from monitoring.indicators import probe, rounds
from monitoring.rollout_control import controller, gates
from monitoring.rollout_control.gates.results import GateResult
from monitoring.rollout_control.models import Verdict
from monitoring.stats.models import Sample
from profiles import cache
from profiles.rollout.models import Rollout
from tests.conftest import Phases
from tests.monitoring.alert_causes import Clock
from tests.webhooks.inbox_rows import row
from webhooks.delivery_watchdog import MOSCOW
from webhooks.models import InboxUpdate, State

NOON = datetime(2026, 11, 25, 9, tzinfo=UTC)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


@pytest.fixture
def clock() -> Iterator[Clock]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def gate(phase: int, name: str) -> GateResult:
    return next(result for result in gates.evaluate(phase, Decimal(100)).results if result.gate == name)


@pytest.fixture
def redis_health(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    answer = cache.health() | {"evicted_keys": 0, "cached_profiles": 1000}
    monkeypatch.setattr(cache, "health", lambda: answer)
    return answer


def test_evictions_after_a_restart_of_redis(redis_health: dict[str, Any], clock: Clock, phases: Phases) -> None:
    """The alert spoke of 40 % of the profiles, and the gate passed."""
    phases(100, 100)
    redis_health["evicted_keys"] = 5000
    rounds.take_round()
    clock.shift(timedelta(minutes=5))
    redis_health["evicted_keys"] = 400
    engine.check_alerts()
    alert = Alert.objects.get(kind=Kind.CACHE_EVICTIONS_HIGH)
    assert (alert.data["current_rate"], alert.data["evicted_keys"]) == (0.4, 400)
    found = gate(3, "few_evictions")
    assert (found.verdict, found.value) == (Verdict.FAIL, 0.4)
    assert str(found.message) == "Redis evicted 40.0 % of the profiles in a day"


def test_the_growth_that_the_release_before_had_seen(
    redis_health: dict[str, Any], clock: Clock, phases: Phases
) -> None:
    phases(100, 100)
    for hours, value in ((3, 900.0), (2, 950.0), (1, 50.0)):
        Sample.objects.create(name="evicted_keys", at=NOON - timedelta(hours=hours), value=value)
    migration = importlib.import_module("monitoring.migrations.0018_carry_counters_over")
    with connection.cursor() as cursor:
        cursor.execute(migration.CARRY_OVER)
    redis_health["evicted_keys"] = 60
    assert rounds.take_round()["evictions"].value == (50 + 50 + 10) / 1000


def test_at_night_neither_the_alert_nor_the_gate_speaks_of_silence(
    phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate held, and pulled the tripwire, while the alert was rightly quiet."""
    phases(100, 100)
    monkeypatch.setattr(controller, "probe", SimpleNamespace(round_trip=lambda: None))
    with time_machine.travel(datetime(2026, 11, 25, 19, 50, tzinfo=MOSCOW).astimezone(UTC), tick=False) as clock:
        row(State.DONE)
        clock.shift(timedelta(hours=6))
        engine.check_alerts()
        assert not Alert.objects.exists()
        assert gate(3, "updates_arrive").verdict == Verdict.PASS
        for _ in range(4):
            controller.check()
        assert not Rollout.current().is_paused


@pytest.mark.django_db(transaction=True)
def test_our_own_probe_is_no_arrival(clock: Clock, phases: Phases) -> None:
    """Each probe of the conductor ended the alert's silence, and not the gate's."""
    phases(100, 100)
    row(State.DONE, timedelta(hours=24))
    probe.round_trip(patience=0)
    assert InboxUpdate.objects.count() == 2
    engine.check_alerts()
    assert Alert.objects.get(kind=Kind.WEBHOOK_SILENT).data["silent_hours"] == 12
    assert gate(3, "updates_arrive").value == 12 * 3600


@pytest.mark.parametrize(
    ("age", "verdict", "alerts"),
    [
        (timedelta(seconds=9), Verdict.PASS, []),
        (timedelta(minutes=2), Verdict.FAIL, []),
        (timedelta(minutes=6), Verdict.FAIL, [Kind.INBOX_LAG_HIGH]),
    ],
)
def test_one_lag_has_two_limits(
    client: Client, settings: Any, clock: Clock, phases: Phases, age: timedelta, verdict: Verdict, alerts: list[Kind]
) -> None:
    """The gate looked at the p95 alone, which hid one update that waits; the alert had another limit."""
    settings.DEBUG = True
    phases(100)
    for _ in range(200):
        row(State.DONE)
    row(State.PENDING, age)
    engine.check_alerts()
    found = gate(2, "inbox_lag")
    assert (found.verdict, found.value) == (verdict, age.total_seconds())
    assert [alert.kind for alert in Alert.objects.all()] == alerts
    assert f"webhook_inbox_lag_seconds {age.total_seconds()}\n" in client.get("/metrics").content.decode()


def test_one_error_rate(clock: Clock, phases: Phases) -> None:
    """The gate judged the day, the alert the hour."""
    phases(100)
    for _ in range(1000):
        row(State.DONE, timedelta(hours=3))
    for state in [State.DONE] * 18 + [State.DEAD] * 2:
        row(state)
    engine.check_alerts()
    alert = Alert.objects.get(kind=Kind.WEBHOOK_ERROR_RATE_HIGH)
    found = gate(2, "webhook_errors")
    assert (alert.data["current_rate"], found.value, found.verdict) == (0.1, 0.1, Verdict.FAIL)
