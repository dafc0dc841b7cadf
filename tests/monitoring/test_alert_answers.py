"""People acknowledge and mute; the list shows it, the sink is spared, and phase 4 waits for what is not muted."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from config.lib import shell_user
from monitoring.alerts import engine, outbox
from monitoring.alerts.acknowledgements import AcknowledgementRefused, acknowledge, mute, unmute
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from monitoring.api.metrics import exposition
from monitoring.rollout_control import gates
from monitoring.rollout_control.gates import progress
from monitoring.rollout_control.models import Verdict
from tests.monitoring.sink import Sink, sink
from tests.webhooks.inbox_rows import row
from webhooks.models import InboxUpdate, State

NOON = datetime(2026, 11, 25, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def hook(settings: Settings) -> Iterator[Sink]:
    with sink() as made:
        settings.ALERT_WEBHOOK_URL = made.url
        yield made


def fire() -> Alert:
    row(State.PENDING, timedelta(minutes=10))
    engine.check_alerts()
    return Alert.objects.open().get(kind=Kind.INBOX_LAG_HIGH)


def cure(clock: time_machine.Traveller) -> None:
    InboxUpdate.objects.all().delete()
    for _ in range(3):
        engine.check_alerts()
        clock.shift(timedelta(minutes=5))


def verdict() -> Verdict:
    return progress.no_alert(gates.transition_step(4, Decimal(1))).verdict


def test_it_works(client: Client, settings: Settings, superadmin: User) -> None:
    settings.DEBUG = True
    acknowledge(fire(), superadmin)
    body = client.get("/monitoring/alerts").json()
    assert (body["count"], body["next"], body["previous"]) == (1, None, None)
    shown = body["results"][0]
    assert (shown["alert_type"], shown["severity"], shown["status"]) == ("inbox_lag_high", "critical", "firing")
    assert (shown["acknowledged_by"], shown["resolved_at"], shown["muted_until"]) == ("root", None, None)


def test_the_list_has_the_open_ones_first_and_pages(client: Client, settings: Settings, clock: Any) -> None:
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


def test_it_refuses_strangers(client: Client, settings: Settings) -> None:
    settings.DEBUG = False
    assert client.get("/monitoring/alerts").status_code == 401


def test_the_first_acknowledgement_stays(superadmin: User) -> None:
    alert = fire()
    acknowledge(alert, superadmin)
    with pytest.raises(AcknowledgementRefused, match="already"):
        acknowledge(alert, User.objects.create_user("second"))
    assert alert.acknowledged_by == superadmin


def test_it_refuses_answers_without_sense(superadmin: User, clock: time_machine.Traveller) -> None:
    alert = fire()
    with pytest.raises(AcknowledgementRefused):
        mute(alert, superadmin, until=timezone.now(), reason="maintenance")
    with pytest.raises(AcknowledgementRefused):
        mute(alert, superadmin, until=timezone.now() + HOUR, reason="  ")
    with pytest.raises(AcknowledgementRefused, match="not muted"):
        unmute(alert)
    cure(clock)
    alert.refresh_from_db()
    with pytest.raises(AcknowledgementRefused):
        acknowledge(alert, superadmin)


def test_a_mute_spares_the_sink_until_it_expires(superadmin: User, clock: time_machine.Traveller, hook: Sink) -> None:
    alert = fire()
    outbox.deliver()
    mute(alert, superadmin, until=timezone.now() + HOUR, reason="maintenance")
    cure(clock)
    outbox.deliver()
    # It was told before it was muted, so its end is told too; what fires again meanwhile is not.
    assert [body.get("status") for body in hook.got] == [None, "resolved"]
    again = fire()
    assert (again.pk != alert.pk, again.mute_reason) == (True, "maintenance")
    outbox.deliver()
    assert len(hook.got) == 2
    clock.shift(HOUR)
    engine.check_alerts()
    outbox.deliver()
    assert len(hook.got) == 3


def test_what_is_muted_before_it_was_told_ends_in_silence(
    superadmin: User, clock: time_machine.Traveller, hook: Sink
) -> None:
    alert = fire()
    outbox.deliver()
    mute(alert, superadmin, until=timezone.now() + timedelta(days=2), reason="known")
    cure(clock)
    fire()
    InboxUpdate.objects.all().delete()
    for _ in range(5):
        clock.shift(timedelta(minutes=10))
        engine.check_alerts()
    outbox.deliver()
    assert not Alert.objects.open().exists()
    assert len(hook.got) == 2


def test_what_waits_at_a_dead_sink_is_held_until_the_mute_ends(
    superadmin: User, clock: time_machine.Traveller, hook: Sink
) -> None:
    hook.status = 503
    alert = fire()
    outbox.deliver()
    hook.status = 200
    mute(alert, superadmin, until=timezone.now() + HOUR, reason="known")
    clock.shift(timedelta(minutes=30))
    assert (outbox.deliver(), hook.got) == (0, [])
    # It waits for the mute, not for the sink.
    assert 'alert_deliveries_waiting{channel="webhook"} 0.0' in exposition().decode()
    clock.shift(HOUR)
    assert outbox.deliver() == 1


def test_what_is_over_before_its_mute_ends_is_not_told_to_a_sink_that_was_dead(
    superadmin: User, clock: time_machine.Traveller, hook: Sink
) -> None:
    hook.status = 503
    alert = fire()
    outbox.deliver()
    hook.status = 200
    mute(alert, superadmin, until=timezone.now() + HOUR, reason="known")
    cure(clock)
    clock.shift(2 * HOUR)
    outbox.deliver()
    assert (hook.got, alert.deliveries.get().error) == ([], "muted until it was over")


def test_phase_4_waits_for_what_is_open_and_not_muted(superadmin: User, clock: time_machine.Traveller) -> None:
    assert verdict() == Verdict.INCONCLUSIVE
    engine.check_alerts()
    assert verdict() == Verdict.PASS
    alert = fire()
    acknowledge(alert, superadmin)
    assert verdict() == Verdict.FAIL
    mute(alert, superadmin, until=timezone.now() + HOUR, reason="known")
    assert verdict() == Verdict.PASS
    unmute(alert)
    assert verdict() == Verdict.FAIL
    clock.shift(HOUR)
    assert verdict() == Verdict.INCONCLUSIVE


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_the_commands(superadmin: User) -> None:
    assert run("alerts", "list") == "No alert is open\n"
    assert run("alerts", "list", "--all") == "No alert in the last 30 days\n"
    row(State.PENDING, timedelta(minutes=10))
    assert "firing: critical Updates wait: 1" in run("check_alerts")
    assert "open alerts: 1, changes: 0" in run("check_alerts")
    alert = Alert.objects.get()
    assert "inbox_lag_high" in run("alerts", "list")
    mute_it = ("alerts", "mute", str(alert.pk), "--for", "2h", "--reason", "known", "--by", "root")
    assert "Dry run" in run(*mute_it, "--dry-run")
    assert "acknowledged by root" in run("alerts", "acknowledge", str(alert.pk), "--by", "root")
    assert "muted until" in run(*mute_it)
    assert json.loads(run("alerts", "list", "--json"))[0]["mute_reason"] == "known"
    assert "muted" not in run("alerts", "unmute", str(alert.pk))


def test_who_answers_is_the_shells_user_where_we_know_it(superadmin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    alert = fire()
    monkeypatch.setattr(shell_user, "login", lambda: "uid 10001")
    with pytest.raises(CommandError, match="There is no user uid 10001: name who answers by --by LOGIN"):
        run("alerts", "acknowledge", str(alert.pk))
    assert not Alert.objects.exclude(acknowledged_at=None).exists()
    monkeypatch.setattr(shell_user, "login", lambda: "root")
    assert "acknowledged by root" in run("alerts", "acknowledge", str(alert.pk))


@pytest.mark.parametrize("words", [("acknowledge", "77"), ("mute", "77", "--for", "2h", "--reason", "x")])
def test_the_commands_refuse_what_is_not_there(words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="no alert 77"):
        run("alerts", *words)


@pytest.mark.parametrize(("length", "by"), [("soon", "root"), ("2h", "nobody")])
def test_the_commands_refuse_nonsense(superadmin: User, length: str, by: str) -> None:
    alert = fire()
    with pytest.raises(CommandError):
        run("alerts", "mute", str(alert.pk), "--for", length, "--reason", "x", "--by", by)
