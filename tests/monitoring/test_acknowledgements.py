"""Alerts are acknowledged and muted; muted ones send no notifications and do not hold phase 4."""

import json
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from config.lib import shell_user
from monitoring.alerts import engine, outbox
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import AcknowledgementRefused, Alert
from monitoring.api.metrics import exposition
from monitoring.rollout_control import gates
from monitoring.rollout_control.models import Verdict
from tests.monitoring.alert_causes import Clock
from tests.monitoring.alert_receiver import AlertReceiver
from tests.webhooks.inbox_rows import row
from webhooks.models import InboxUpdate, State

HOUR = timedelta(hours=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


def fire() -> Alert:
    row(State.PENDING, timedelta(minutes=10))
    engine.check_alerts()
    return Alert.objects.open().get(kind=Kind.INBOX_LAG_HIGH)


def resolve(clock: Clock) -> None:
    InboxUpdate.objects.all().delete()
    for _ in range(3):
        engine.check_alerts()
        clock.shift(timedelta(minutes=5))


def verdict() -> Verdict:
    return gates.no_alert(gates.transition_step(4, Decimal(1))).verdict


def test_it_works(client: Client, settings: Settings, superadmin: User) -> None:
    settings.DEBUG = True
    fire().acknowledge(superadmin)
    body = client.get("/monitoring/alerts").json()
    assert (body["count"], body["next"], body["previous"]) == (1, None, None)
    shown = body["results"][0]
    assert (shown["alert_type"], shown["severity"], shown["status"]) == ("inbox_lag_high", "critical", "firing")
    assert (shown["acknowledged_by"], shown["resolved_at"], shown["muted_until"]) == ("root", None, None)


def test_the_list_has_pages_with_open_alerts_first(client: Client, settings: Settings, clock: Any) -> None:
    settings.DEBUG = True
    for number in range(5):
        Alert.objects.create(
            kind=Kind.BACKFILL_FAILED,
            key=str(number),
            severity="warning",
            message="m",
            fired_at=timezone.now() - number * HOUR,
            resolved_at=timezone.now() if number < 3 else timezone.now() - timedelta(days=31) if number == 3 else None,
        )
    body = client.get("/monitoring/alerts?limit=2").json()
    assert (body["count"], [one["status"] for one in body["results"]]) == (4, ["firing", "resolved"])
    assert client.get(body["next"]).json()["next"] is None
    assert client.get("/monitoring/alerts?state=open").json()["count"] == 1
    assert client.get("/monitoring/alerts?state=strange").status_code == 400


def test_it_refuses_anonymous_requests(client: Client, settings: Settings) -> None:
    settings.DEBUG = False
    assert client.get("/monitoring/alerts").status_code == 401


def test_the_first_acknowledgement_stays(superadmin: User) -> None:
    alert = fire()
    alert.acknowledge(superadmin)
    with pytest.raises(AcknowledgementRefused, match="already"):
        alert.acknowledge(User.objects.create_user("second"))
    assert alert.acknowledged_by == superadmin


def test_it_refuses_impossible_actions(superadmin: User, clock: Clock) -> None:
    alert = fire()
    with pytest.raises(AcknowledgementRefused):
        alert.mute(superadmin, until=timezone.now(), reason="maintenance")
    with pytest.raises(AcknowledgementRefused):
        alert.mute(superadmin, until=timezone.now() + HOUR, reason="  ")
    with pytest.raises(AcknowledgementRefused, match="not muted"):
        alert.unmute()
    resolve(clock)
    alert.refresh_from_db()
    with pytest.raises(AcknowledgementRefused):
        alert.acknowledge(superadmin)


@pytest.mark.long
def test_a_mute_stops_notifications_until_it_ends(superadmin: User, clock: Clock, receiver: AlertReceiver) -> None:
    alert = fire()
    outbox.deliver()
    alert.mute(superadmin, until=timezone.now() + HOUR, reason="maintenance")
    resolve(clock)
    outbox.deliver()
    # Notified before the mute, it is notified of the end too; a new alert meanwhile is not.
    assert [body.get("status") for body in receiver.received] == [None, "resolved"]
    again = fire()
    assert (again.pk != alert.pk, again.mute_reason) == (True, "maintenance")
    outbox.deliver()
    assert len(receiver.received) == 2
    clock.shift(HOUR)
    engine.check_alerts()
    outbox.deliver()
    assert len(receiver.received) == 3


@pytest.mark.long
def test_an_alert_muted_throughout_sends_nothing(superadmin: User, clock: Clock, receiver: AlertReceiver) -> None:
    alert = fire()
    outbox.deliver()
    alert.mute(superadmin, until=timezone.now() + timedelta(days=2), reason="known")
    resolve(clock)
    fire()
    InboxUpdate.objects.all().delete()
    for _ in range(5):
        clock.shift(timedelta(minutes=10))
        engine.check_alerts()
    outbox.deliver()
    assert not Alert.objects.open().exists()
    assert len(receiver.received) == 2


def test_undelivered_notifications_wait_for_the_mute(superadmin: User, clock: Clock, receiver: AlertReceiver) -> None:
    receiver.status = 503
    alert = fire()
    outbox.deliver()
    receiver.status = 200
    alert.mute(superadmin, until=timezone.now() + HOUR, reason="known")
    clock.shift(timedelta(minutes=30))
    assert (outbox.deliver(), receiver.received) == (0, [])
    # It waits for the mute, not for the receiver.
    assert 'alert_deliveries_waiting{channel="webhook"} 0.0' in exposition().decode()
    clock.shift(HOUR)
    assert outbox.deliver() == 1


@pytest.mark.long
def test_an_alert_resolved_while_muted_is_never_delivered(
    superadmin: User, clock: Clock, receiver: AlertReceiver
) -> None:
    receiver.status = 503
    alert = fire()
    outbox.deliver()
    receiver.status = 200
    alert.mute(superadmin, until=timezone.now() + HOUR, reason="known")
    resolve(clock)
    clock.shift(2 * HOUR)
    outbox.deliver()
    assert (receiver.received, alert.deliveries.get().error) == ([], "muted until resolved")


def test_phase_4_waits_for_open_alerts_that_are_not_muted(superadmin: User, clock: Clock) -> None:
    assert verdict() == Verdict.INCONCLUSIVE
    engine.check_alerts()
    assert verdict() == Verdict.PASS
    alert = fire()
    alert.acknowledge(superadmin)
    assert verdict() == Verdict.FAIL
    alert.mute(superadmin, until=timezone.now() + HOUR, reason="known")
    assert verdict() == Verdict.PASS
    alert.unmute()
    assert verdict() == Verdict.FAIL
    clock.shift(HOUR)
    assert verdict() == Verdict.INCONCLUSIVE


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_the_commands(superadmin: User) -> None:
    assert run("alerts", "list") == "No open alerts.\n"
    assert run("alerts", "list", "--all") == "No alerts in the last 30 days.\n"
    row(State.PENDING, timedelta(minutes=10))
    assert "firing: critical Inbox lag is" in run("check_alerts")
    assert "open alerts: 1, changes: 0" in run("check_alerts")
    alert = Alert.objects.get()
    assert "inbox_lag_high" in run("alerts", "list")
    mute_it = ("alerts", "mute", str(alert.pk), "--for", "2h", "--reason", "known", "--by", "root")
    assert "Dry run" in run(*mute_it, "--dry-run")
    assert "acknowledged by root" in run("alerts", "acknowledge", str(alert.pk), "--by", "root")
    assert "muted until" in run(*mute_it)
    assert json.loads(run("alerts", "list", "--json"))[0]["mute_reason"] == "known"
    assert "muted" not in run("alerts", "unmute", str(alert.pk))


def test_the_default_user_is_that_of_the_shell(superadmin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    alert = fire()
    monkeypatch.setattr(shell_user, "login", lambda: "uid 10001")
    with pytest.raises(CommandError, match=r"User uid 10001 does not exist: use --by LOGIN\."):
        run("alerts", "acknowledge", str(alert.pk))
    assert not Alert.objects.exclude(acknowledged_at=None).exists()
    monkeypatch.setattr(shell_user, "login", lambda: "root")
    assert "acknowledged by root" in run("alerts", "acknowledge", str(alert.pk))


@pytest.mark.parametrize("words", [("acknowledge", "77"), ("mute", "77", "--for", "2h", "--reason", "x")])
def test_the_commands_refuse_unknown_ids(words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r"Alert 77 does not exist\."):
        run("alerts", *words)


@pytest.mark.parametrize(("length", "by"), [("soon", "root"), ("2h", "nobody")])
def test_the_commands_refuse_nonsense(superadmin: User, length: str, by: str) -> None:
    alert = fire()
    with pytest.raises(CommandError):
        run("alerts", "mute", str(alert.pk), "--for", length, "--reason", "x", "--by", by)
