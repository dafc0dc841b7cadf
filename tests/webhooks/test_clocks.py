"""Clocks that differ, are set back or ahead: a waiting update is taken at once and counted, and no age is negative."""

import io
import json
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from config.lib import clock
from monitoring.alerts import engine, outbox
from monitoring.alerts.models import Alert, Delivery
from monitoring.indicators import rounds
from monitoring.indicators.models import Round
from monitoring.stats import cached, reports
from monitoring.stats.models import CachedStatistic, Sample
from profiles.models import Profile
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Heartbeat
from tests.conftest import Phases
from tests.profiles.people import add_profile
from tests.webhooks.inbox_rows import row
from webhooks.models import LONGEST_PAUSE, InboxUpdate, State
from webhooks.processing import RETRY_SECONDS, process_inbox

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR, timedelta(seconds=1), 24 * HOUR])
def test_a_new_update_is_taken_at_once(ahead: timedelta) -> None:
    """The web server's clock may be ahead of the inbox worker's, or ours was set back since."""
    update = row(State.PENDING, -ahead)
    assert process_inbox() == 1
    update.refresh_from_db()
    assert update.state == State.SKIPPED


@pytest.mark.parametrize(("until", "is_taken"), [(-HOUR, True), (timedelta(minutes=5), False), (HOUR, True)])
def test_a_retry_waits_no_longer_than_its_pause(until: timedelta, is_taken: bool) -> None:
    assert timedelta(seconds=max(RETRY_SECONDS) * 1.1) < LONGEST_PAUSE
    row(State.PENDING, tries=1, next_try_at=timezone.now() + until)
    assert process_inbox() == int(is_taken)


@pytest.mark.long
@pytest.mark.parametrize("ahead", [HOUR, -HOUR, -25 * HOUR])
def test_every_waiting_update_is_pending(client: Client, settings: Settings, ahead: timedelta) -> None:
    settings.DEBUG = True
    row(State.PENDING, -ahead)
    row(State.PENDING, -ahead, tries=2, next_try_at=timezone.now() + HOUR)
    assert InboxUpdate.objects.backlog().size == 2
    assert InboxUpdate.objects.backlog().age >= timedelta()
    readings = rounds.take_round()
    assert readings["inbox_pending"].value == 2
    assert (readings["inbox_lag"].value or 0) >= 0
    assert "webhook_inbox_pending 2.0" in client.get("/metrics").content.decode()
    report = reports.webhook_stats("week")
    assert (report["pending_events"], report["total_events"]) == (2, 2)
    out = io.StringIO()
    with suppress(CommandError):
        call_command("health", "--url", "http://127.0.0.1:1", stdout=out)
    assert "pending updates: 2" in out.getvalue()


def test_ages_are_not_negative() -> None:
    later = timezone.now() + HOUR
    assert clock.age(later) == timedelta()
    assert HOUR - timedelta(minutes=1) < clock.distance(later) <= HOUR
    statistic = CachedStatistic(name="users", value=[], at=later, took_ms=1)
    assert statistic.age_seconds == 0


def test_statistics_and_rounds_of_the_future_are_old() -> None:
    cached.take()
    rounds.take_round()
    CachedStatistic.objects.update(at=timezone.now() + HOUR)
    assert set(cached.take()) == set(cached.STATISTICS)
    assert Round(timezone.now() + HOUR, {}).is_old


def test_no_report_has_a_negative_age() -> None:
    add_profile("1", at=timezone.now() + HOUR)
    cached.take()
    [row] = reports.quality()["source_breakdown"].values()
    assert row["average_age_days"] == 0


def test_the_last_check_is_the_last_one_made() -> None:
    """A check whose time is in the future is not newer than one made after the clock was corrected."""
    Sample.objects.create(name=engine.LAST_CHECK, value=1, at=timezone.now() + HOUR)
    assert engine.last_check().is_late
    Sample.objects.create(name=engine.LAST_CHECK, value=1)
    assert not engine.last_check().is_late
    assert engine.last_check().age < timedelta(minutes=1)


@pytest.mark.usefixtures("steady_heartbeats")
def test_a_process_that_ended_before_the_clock_was_set_back_is_silent() -> None:
    Heartbeat.objects.create(process="worker-host-1", revision=0)
    Heartbeat.objects.create(process="worker-host-2", revision=0, seen_at=timezone.now() + HOUR)
    spread = convergence()
    assert ([*spread.reached, *spread.behind], spread.silent) == (["worker-host-1"], ["worker-host-2"])


def test_a_notification_is_sent_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/"
    monkeypatch.setattr(outbox, "FIRST_PAUSE", timedelta(minutes=5))
    alert = Alert.objects.create(kind="dead_letters", severity="warning", message="m", words={"count": "1"})
    outbox.put(alert, Delivery.Event.FIRING)
    Delivery.objects.update(next_try_at=timezone.now() + HOUR)
    outbox.deliver()
    assert Delivery.objects.get().tries == 1
    outbox.deliver()
    assert Delivery.objects.get().tries == 1
    Delivery.objects.update(next_try_at=timezone.now() + HOUR)
    outbox.deliver()
    assert Delivery.objects.get().tries == 2


def test_a_replay_during_a_rollback_waits(phases: Phases) -> None:
    phases(100, 100)
    body = b'{"update_type":"bot_started","timestamp":1764000000000,"user":{"user_id":7,"first_name":"A"}}'
    update = row(State.DEAD, body=body, reason="KeyError", tries=6)
    for part in ("webhook", "emergency"):
        call_command("rollback", part, "--reason", "r", stdout=io.StringIO(), stderr=io.StringIO())
        call_command("replay_updates", "--id", update.pk, "--reason", "r", stdout=io.StringIO())
        assert process_inbox() == 0
        assert InboxUpdate.objects.get().state == State.PENDING


@pytest.mark.parametrize("wrong_by", [-HOUR, HOUR])
def test_a_wrong_clock_of_the_web_server_does_not_change_the_order(phases: Phases, wrong_by: timedelta) -> None:
    """A correct time in the update is not judged by the clock of the host that received it."""
    phases(100, 100)
    now = timezone.now()
    for name, minutes, error in (("Анна", 30, timedelta()), ("Мария", 1, wrong_by)):
        at = now - timedelta(minutes=minutes)
        row(State.PENDING, received_at=at + error, body=dialog(name, at))
    process_inbox()
    assert Profile.objects.get().first_name == "Мария"


def dialog(name: str, at: datetime) -> bytes:
    user = {"user_id": 7, "first_name": name, "last_name": ""}
    return json.dumps({"update_type": "bot_started", "timestamp": at.timestamp() * 1000, "user": user}).encode()
