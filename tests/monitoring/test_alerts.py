"""Each alert fires and resolves once, and each change is delivered once, even if the receiver is down for a while."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import OperationalError
from django.urls import reverse
from django.utils import translation
from pytest_django.fixtures import Settings

from monitoring.alerts import engine, outbox
from monitoring.alerts.kinds import CHECKS, Kind
from monitoring.alerts.models import Alert, Delivery, DeliveryState
from monitoring.indicators.definitions import INDICATORS
from monitoring.indicators.measurements import Measured
from profiles.models import Profile
from tests.config.test_russian_pages import latin_in
from tests.loopback import Answer
from tests.monitoring.alert_causes import CAUSES, URL, Clock, low_quality
from tests.monitoring.alert_receiver import AlertReceiver
from tests.profiles.people import add_profile
from tests.webhooks.fake_platform import TOKEN, FakePlatform, fake_platform
from tests.webhooks.inbox_rows import row
from webhooks.models import State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


def check(clock: Clock, times: int = 1, wait: timedelta = timedelta(minutes=5)) -> list[str]:
    lines: list[str] = []
    for _ in range(times):
        clock.shift(wait)
        lines += engine.check_alerts()
        outbox.deliver()
    return lines


def test_each_kind_has_a_check_a_message_and_a_test() -> None:
    assert set(CHECKS) == set(CAUSES) == set(Kind)


@pytest.fixture
def platform(settings: Settings) -> Iterator[FakePlatform]:
    with fake_platform() as fake:
        settings.MAX_API_URL, settings.MAX_BOT_TOKEN, settings.WEBHOOK_PUBLIC_URL = fake.url, TOKEN, URL
        yield fake


@pytest.fixture
def world(request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    made = {"settings": settings, "monkeypatch": monkeypatch}
    is_of_max = request.node.callspec.id.startswith(("subscription", "direct_api"))
    return made | ({"platform": request.getfixturevalue("platform")} if is_of_max else {})


# Others in `make test`: tests/monitoring/test_every_indicator.py.
SAMPLE = {Kind.PROFILE_QUALITY_LOW, Kind.CACHE_CONNECTION_FAILED, Kind.DEAD_LETTERS, Kind.SUBSCRIPTION_WRONG}


@pytest.mark.long
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in SAMPLE else pytest.mark.integration) for kind in Kind], ids=str
)
def test_each_fires_and_resolves_and_is_delivered_once(
    kind: Kind, world: dict[str, Any], clock: Clock, receiver: AlertReceiver
) -> None:
    fix = CAUSES[kind](clock=clock, **world)
    receiver.status = 503
    check(clock, 3)
    assert [alert.kind for alert in Alert.objects.all()] == [kind]
    # Down for a quarter of an hour: tried, in pauses, and nothing lost.
    assert (receiver.received, receiver.tries > 0) == ([], True)
    receiver.status = 200
    check(clock, 2)
    assert [body["alert_type"] for body in receiver.received] == [kind]
    assert "status" not in receiver.received[0]
    receiver.status = 503
    fix()
    check(clock, 3)
    assert not Alert.objects.open().filter(kind=kind).exists()
    receiver.status = 200
    clock.shift(timedelta(minutes=10))
    outbox.deliver()
    mine = [body for body in receiver.received if body["alert_type"] == kind]
    assert [body.get("status") for body in mine] == [None, "resolved"]
    assert len(set(receiver.keys)) == len(receiver.keys)


@pytest.mark.long
@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_each_has_a_russian_message(kind: Kind, world: dict[str, Any], clock: Clock, settings: Settings) -> None:
    """An operator's own reason stays as written, and what PostgreSQL reports."""
    own = {Kind.ROLLOUT_HELD: {"no", "updates"}, Kind.LOCK_HELD: {"SELECT", "psql", "idle", "in", "transaction"}}
    CAUSES[kind](clock=clock, **world)
    check(clock)
    with translation.override("ru"):
        text = Alert.objects.get(kind=kind).text.replace(URL, "").replace(settings.MAX_API_USERS_PATH, "")
        text = text.replace("pg_terminate_backend", "")
        assert latin_in(text) <= own.get(kind, set())


def test_the_documented_form(clock: Clock, receiver: AlertReceiver, settings: Settings) -> None:
    for number in range(75):
        add_profile(f"c{number}", "Иван", "Петров", age=timedelta(days=31))
    for number in range(25):
        add_profile(f"e{number}", None, "")
    check(clock)
    page = f"{settings.SITE_URL}{reverse('admin:monitoring_alert_change', args=[Alert.objects.get().pk])}"
    assert receiver.received == [
        {
            "alert_type": "profile_quality_low",
            "severity": "critical",
            "message": "Profile quality dropped to 60% (threshold: 80%)",
            "current_rate": 0.6,
            "threshold": 0.8,
            "total_profiles": 100,
            "complete_profiles": 75,
            "timestamp": "2026-11-25T09:05:00Z",
            "runbook_url": f"{page}#steps",
            "dashboard_url": page,
        }
    ]


@pytest.mark.long
def test_low_quality_escalates_once(clock: Clock, receiver: AlertReceiver) -> None:
    for number in range(7):
        add_profile(f"c{number}", "Иван", "Петров")
    for number in range(3):
        add_profile(f"e{number}", None, "")
    check(clock, 2)
    assert [body["severity"] for body in receiver.received] == ["warning"]
    for number in range(7):
        add_profile(f"f{number}", None, "")
    check(clock, 2)
    assert [body["severity"] for body in receiver.received] == ["warning", "critical"]
    Profile.objects.filter(user_id__startswith="f").delete()
    check(clock, 2)
    assert len(receiver.received) == 2
    assert Alert.objects.get().severity == "critical"


@pytest.mark.long
@pytest.mark.parametrize("times", [4, pytest.param(12, marks=pytest.mark.integration)])
def test_a_flapping_alert_stays_open(clock: Clock, receiver: AlertReceiver, times: int) -> None:
    for _ in range(times):
        waiting = row(State.PENDING, timedelta(minutes=10))
        check(clock)
        waiting.delete()
        check(clock)
    # Every second check was clear; one notification was sent.
    assert [body["alert_type"] for body in receiver.received] == ["inbox_lag_high"]
    check(clock)
    assert receiver.received[-1]["status"] == "resolved"


@pytest.mark.long
def test_a_returning_alert_is_held_longer(clock: Clock) -> None:
    for held_for in (2, 3, 5):
        waiting = row(State.PENDING, timedelta(minutes=10))
        check(clock)
        waiting.delete()
        check(clock, held_for - 1)
        assert Alert.objects.open().exists()
        check(clock)
        assert not Alert.objects.open().exists()


@pytest.mark.long
def test_after_the_clock_was_set_back_an_alert_resolves(clock: Clock) -> None:
    fix = low_quality(clock=clock)
    check(clock)
    fix()
    check(clock)
    assert Alert.objects.get().clear_since
    clock.shift(-timedelta(days=1))
    check(clock)
    assert Alert.objects.get().resolved_at is None
    check(clock)
    assert Alert.objects.get().resolved_at


@pytest.mark.long
def test_a_failed_measurement_changes_nothing(clock: Clock, platform: FakePlatform, receiver: AlertReceiver) -> None:
    row(State.DONE)
    check(clock)
    platform.sends_to(URL)
    platform.answers += [Answer(500, {})] * 6
    check(clock, 3)
    assert [alert.kind for alert in Alert.objects.open()] == [Kind.SUBSCRIPTION_LOST]
    assert [body["alert_type"] for body in receiver.received] == ["subscription_lost"]


@pytest.mark.long
def test_an_alert_that_cannot_be_checked_makes_the_check_late(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> Measured:
        raise OperationalError("canceling statement due to statement timeout")

    check(clock)
    monkeypatch.setitem(INDICATORS, "dead_letters", replace(INDICATORS["dead_letters"], measure=fail))
    check(clock, 3)
    assert not engine.last_check().is_late
    check(clock)
    last = engine.last_check()
    assert (last.is_late, last.is_running, last.age) == (True, True, timedelta(minutes=20))
    monkeypatch.undo()
    check(clock)
    assert not engine.last_check().is_late


def test_a_dead_receiver_is_tried_once_a_pause(clock: Clock, receiver: AlertReceiver) -> None:
    receiver.status = 503
    alert = Alert.objects.create(kind=Kind.DEAD_LETTERS, severity="warning", message="m", words={"count": "1"})
    for event in Delivery.Event.values:
        outbox.put(alert, event)
    for _ in range(60):
        clock.shift(timedelta(seconds=10))
        outbox.deliver()
    assert receiver.tries <= 6
    receiver.status = 200
    clock.shift(timedelta(minutes=10))
    assert outbox.deliver() == 3
    assert outbox.deliver() == 0


def test_a_refused_notification_does_not_block_others(clock: Clock, receiver: AlertReceiver) -> None:
    receiver.status = 400
    alert = Alert.objects.create(kind=Kind.DEAD_LETTERS, severity="warning", message="m", words={"count": "1"})
    for event in ("firing", "resolved"):
        outbox.put(alert, event)
    for _ in range(outbox.MAX_REFUSALS):
        clock.shift(timedelta(minutes=10))
        outbox.deliver()
    receiver.status = 200
    clock.shift(timedelta(minutes=10))
    outbox.deliver()
    states = Delivery.objects.order_by("pk").values_list("event", "state")
    assert list(states) == [("firing", DeliveryState.FAILED), ("resolved", DeliveryState.SENT)]


def test_it_gives_up_what_waits_for_a_removed_channel(
    clock: Clock, receiver: AlertReceiver, settings: Settings
) -> None:
    receiver.status = 503
    alert = Alert.objects.create(kind=Kind.DEAD_LETTERS, severity="warning", message="m", words={"count": "1"})
    outbox.put(alert, Delivery.Event.FIRING)
    outbox.deliver()
    settings.ALERT_WEBHOOK_URL = ""
    outbox.deliver()
    assert Delivery.objects.get().state == DeliveryState.FAILED


def test_slack_and_email(clock: Clock, settings: Settings, receiver: AlertReceiver) -> None:
    settings.ALERT_WEBHOOK_URL, settings.ALERT_SLACK_WEBHOOK = "", receiver.url
    settings.ALERT_EMAIL_TO = ["ops@example.ru"]
    alert = Alert.objects.create(
        kind=Kind.ROLLOUT_HELD, severity="warning", message="m", words={"why": "<!channel> no updates"}
    )
    outbox.put(alert, Delivery.Event.FIRING)
    assert outbox.deliver() == 2
    assert "&lt;!channel&gt; no updates" in receiver.received[0]["text"]
    assert (mail.outbox[0].to, "no updates" in mail.outbox[0].body) == (["ops@example.ru"], True)


def test_a_dead_mail_server_delays_delivery(clock: Clock, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "config.lib.outgoing.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    settings.ALERT_EMAIL_TO = ["ops@example.ru"]
    alert = Alert.objects.create(kind=Kind.ROLLOUT_HELD, severity="warning", message="m", words={"why": "x"})
    outbox.put(alert, Delivery.Event.FIRING)
    assert outbox.deliver() == 0
    waiting = Delivery.objects.get()
    assert (waiting.state, waiting.tries, waiting.error) == ("waiting", 1, "ConnectionRefusedError")


def test_nothing_is_checked_while_monitoring_is_off(clock: Clock, settings: Settings) -> None:
    low_quality()
    settings.MONITORING_ENABLED = False
    assert check(clock) == []
    assert not Alert.objects.exists()


def test_few_updates_are_judged_over_the_day(clock: Clock) -> None:
    for _ in range(99):
        row(State.DONE, timedelta(hours=3))
    row(State.QUARANTINED, timedelta(minutes=1))
    assert check(clock) == []
