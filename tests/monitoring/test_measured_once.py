"""Alerts, gates and pages share one measurement: the cases in which they once differed."""

import importlib
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from waffle.models import Switch

from monitoring.alerts import engine
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from monitoring.indicators import probe, rounds
from monitoring.indicators.working_time import MOSCOW
from monitoring.rollout_control import controller, gates
from monitoring.rollout_control.gates import GateResult
from monitoring.rollout_control.models import Verdict
from monitoring.rollout_control.presenters import Condition
from monitoring.stats.models import Sample
from profiles import cache
from profiles.rollout.decision import forget_state
from profiles.rollout.models import Rollout
from tests.conftest import Phases
from tests.monitoring.alert_causes import NOON, Clock
from tests.webhooks.inbox_rows import row, rows
from webhooks.models import InboxUpdate, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


def gate(phase: int, name: str) -> GateResult:
    return next(result for result in gates.evaluate(phase, Decimal(100)).results if result.gate == name)


@pytest.fixture
def redis_health(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    answer = cache.health() | {"evicted_keys": 0, "cached_profiles": 1000}
    monkeypatch.setattr(cache, "health", lambda: answer)
    return answer


def test_evictions_after_a_restart_of_redis(redis_health: dict[str, Any], clock: Clock, phases: Phases) -> None:
    """The alert once reported 40% of the profiles while the gate passed."""
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
    assert str(found.message) == "Redis evicted 40.0% of the profiles in a day"


@pytest.mark.long
def test_growth_is_carried_over_from_the_previous_release(
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


@pytest.mark.long
def test_alert_and_gate_ignore_silence_at_night(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate once held and paused the rollout while the alert was rightly quiet."""
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
def test_a_probe_does_not_end_the_silence(clock: Clock, phases: Phases) -> None:
    """A probe of the controller once ended the silence for the alert but not for the gate."""
    phases(100, 100)
    row(State.DONE, timedelta(hours=24))
    probe.round_trip(patience=0)
    assert InboxUpdate.objects.count() == 2
    engine.check_alerts()
    assert Alert.objects.get(kind=Kind.WEBHOOK_SILENT).data["silent_hours"] == 12
    assert gate(3, "updates_arrive").value == 12 * 3600


@pytest.mark.long
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
    """The gate once read only the p95, which hides a single waiting update; the alert had another limit."""
    settings.DEBUG = True
    phases(100)
    rows(200)
    row(State.PENDING, age)
    engine.check_alerts()
    found = gate(2, "inbox_lag")
    assert (found.verdict, found.value) == (verdict, age.total_seconds())
    assert [alert.kind for alert in Alert.objects.all()] == alerts
    assert f"webhook_inbox_lag_seconds {age.total_seconds()}\n" in client.get("/metrics").content.decode()


@pytest.mark.long
def test_one_error_rate(client: Client, superadmin: User, clock: Clock, phases: Phases) -> None:
    """The gate once judged the day and the alert the hour; the alert's page shows the same value and limit."""
    phases(100)
    rows(1000, age=timedelta(hours=3))
    for state in [State.DONE] * 18 + [State.DEAD] * 2:
        row(state)
    engine.check_alerts()
    alert = Alert.objects.get(kind=Kind.WEBHOOK_ERROR_RATE_HIGH)
    found = gate(2, "webhook_errors")
    assert (alert.data["current_rate"], found.value, found.verdict) == (0.1, 0.1, Verdict.FAIL)
    client.force_login(superadmin)
    page = client.get(reverse("admin:monitoring_alert_change", args=[alert.pk]), headers={"accept-language": "en"})
    condition = Condition.of(found)
    for shown in (condition.number, f"{condition.operator} {condition.limit}"):
        assert f'<b class="s-number">{shown}</b>' in page.content.decode()


@pytest.mark.long
@pytest.mark.parametrize("minutes", [1, 14, 16, 90, -90])
def test_one_last_check(client: Client, settings: Any, superadmin: User, phases: Phases, minutes: int) -> None:
    """A worker that stopped checking was once seen by none of these; a clock that was ahead must not hide it."""
    settings.DEBUG = True
    phases(100, 100, 100)
    with time_machine.travel(NOON, tick=False) as clock:
        engine.check_alerts()
        clock.shift(timedelta(minutes=minutes))
        is_late, seconds = abs(minutes) > 15, 60 * abs(minutes)
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded" if is_late else "ok")
        reason = f"alerts were last checked {seconds} s ago" if is_late else ""
        assert ready.json().get("reason", "") == reason
        out = io.StringIO()
        with pytest.raises(CommandError) as unhealthy:
            call_command("health", "--url", "http://127.0.0.1:1", stdout=out)
        assert ("alerts" in str(unhealthy.value)) == is_late
        assert (reason in out.getvalue().splitlines()[-1]) == is_late or not reason
        client.force_login(superadmin)
        client.cookies["django_language"] = "en"
        assert ("Alerts have not been checked for" in client.get("/admin/live/home/").content.decode()) == is_late
        assert (gate(4, "no_alert").verdict == Verdict.INCONCLUSIVE) == is_late
        assert (
            f"alerts_checked_timestamp_seconds {NOON.timestamp():.9g}"[:40] in client.get("/metrics").content.decode()
        )


def test_alerts_that_were_never_checked_are_late(client: Client, phases: Phases) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(days=400), tick=False):
        reason = client.get("/ready").json()["reason"]
    assert reason.startswith("alerts were never checked for 34")
    Switch.objects.filter(name="monitoring").update(active=False)
    forget_state()
    with time_machine.travel(datetime.now(UTC) + timedelta(days=400), tick=False):
        assert client.get("/ready").json()["status"] == "ok", "nothing is to be checked"
