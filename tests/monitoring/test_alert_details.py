"""An alert's page shows value, limit, trend, what to do and the rows; the menu and the tab's title count alerts."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from employees.models import Membership, University
from monitoring.alerts import channels, engine, outbox
from monitoring.alerts.kinds import Kind, Severity
from monitoring.alerts.models import Alert, Channel, Delivery
from monitoring.dashboard.alert_details import _ROWS
from monitoring.indicators import rounds
from monitoring.indicators.models import IndicatorReading
from tests.conftest import Phases
from tests.monitoring.alert_causes import Clock
from tests.webhooks.inbox_rows import rows
from webhooks.models import State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
DEAD_LETTERS = "/admin/webhooks/inboxupdate/dead-letters/"


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


@pytest.fixture
def fired(clock: Clock, phases: Phases) -> Alert:
    """An alert about two dead letters, after an hour in which there were none."""
    phases(100, 100)
    for _ in range(7):
        rounds.take_round()
        clock.shift(timedelta(minutes=10))
    # Too few to raise the error rate as well.
    rows(60)
    rows(2, State.DEAD)
    engine.check_alerts()
    return Alert.objects.get()


def path(alert: Alert) -> str:
    return reverse("admin:monitoring_alert_change", args=[alert.pk])


@pytest.mark.long
def test_it_works(admin: Client, fired: Alert) -> None:
    page = admin.get(path(fired)).content.decode()
    assert '<b class="s-number">2</b>' in page
    assert '<b class="s-number">≤ 0</b>' in page
    assert page.count("<polyline") == page.count("<line ") == 1
    assert "Fix the cause of an error, then press “Replay this group” beside that error." in page
    assert f'href="{DEAD_LETTERS}"' in page
    admin.cookies["django_language"] = "ru"
    assert (
        "Устраните причину ошибки, затем нажмите «Обработать эту группу повторно» рядом с этой ошибкой."
        in admin.get(path(fired)).content.decode()
    )


@pytest.mark.long
def test_the_value_is_that_of_the_indicator(admin: Client, fired: Alert) -> None:
    reading = IndicatorReading.objects.filter(name="dead_letters").latest("pk")
    assert (reading.value, reading.warning_limit) == (2, 0)
    IndicatorReading.objects.filter(pk=reading.pk).update(value=77)
    assert '<b class="s-number">77</b>' in admin.get(path(fired)).content.decode()


@pytest.mark.long
def test_a_resolved_alert_shows_its_last_value(admin: Client, fired: Alert, clock: Clock) -> None:
    Alert.objects.update(resolved_at=timezone.now())
    clock.shift(timedelta(minutes=20))
    IndicatorReading.objects.filter(name="dead_letters").latest("pk")
    rounds.take_round()
    IndicatorReading.objects.filter(round_at__gt=fired.fired_at, name="dead_letters").update(value=55)
    assert '<b class="s-number">2</b>' in admin.get(path(fired)).content.decode()


@pytest.mark.long
def test_readings_that_are_gone_are_no_error(admin: Client, fired: Alert) -> None:
    IndicatorReading.objects.all().delete()
    page = admin.get(path(fired))
    assert page.status_code == 200
    assert "<polyline" not in page.content.decode()


@pytest.mark.long
def test_every_kind_has_a_page(admin: Client, phases: Phases) -> None:
    rounds.take_round()
    for kind in Kind:
        alert = Alert.objects.create(kind=kind, key="1", severity=Severity.WARNING, message="m")
        assert "What to do" in admin.get(path(alert)).content.decode(), kind
        assert all(admin.get(rows.url(alert)).status_code in (200, 302) for rows in _ROWS.get(kind, [])), kind


@pytest.mark.long
def test_links_follow_permissions(client: Client, fired: Alert, university: University) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_alert"))
    client.force_login(viewer)
    assert DEAD_LETTERS not in client.get(path(fired)).content.decode()
    viewer.user_permissions.add(Permission.objects.get(codename="view_inboxupdate"))
    assert f'class="s-button" href="{DEAD_LETTERS}"' in client.get(path(fired)).content.decode()
    Membership.objects.create(user=viewer, university=university)
    assert DEAD_LETTERS not in client.get(path(fired)).content.decode(), "the inbox belongs to no university"


@pytest.mark.long
def test_the_menu_and_the_title_count(admin: Client, fired: Alert) -> None:
    for page in ("/admin/", "/admin/rollout/", "/admin/employees/employee/"):
        content = admin.get(page).content.decode()
        title = content.partition("<title>")[2].partition("</title>")[0].strip()
        assert title.startswith("(1) "), page
        assert 'class="s-count" title="Open alerts">1</span>' in content
    home = admin.get("/admin/").content.decode()
    assert home.index('id="home-alerts"') < home.index('id="home-state"')
    assert f'href="{path(fired)}"' in home
    assert 'data-open-alerts="1"' in admin.get("/admin/live/home/").content.decode()
    Alert.objects.update(resolved_at=timezone.now())
    content = admin.get("/admin/rollout/").content.decode()
    assert not content.partition("<title>")[2].strip().startswith("(")
    assert 'title="Open alerts"></span>' in content


@pytest.mark.long
def test_who_may_not_see_alerts_sees_no_count(client: Client, fired: Alert) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_rollout"))
    client.force_login(user)
    assert "(1) " not in client.get("/admin/rollout/").content.decode()


@pytest.mark.long
def test_payloads_have_links(fired: Alert, settings: Settings) -> None:
    settings.SITE_URL = "https://names.example.ru"
    address = f"https://names.example.ru{path(fired)}"
    payload = fired.as_json()
    assert (payload["dashboard_url"], payload["runbook_url"]) == (address, f"{address}#steps")
    settings.RUNBOOK_URL = "https://wiki.example.ru/runbook"
    assert fired.as_json()["runbook_url"] == "https://wiki.example.ru/runbook#dead_letters"


def test_the_other_channels_have_links(
    fired: Alert, settings: Settings, mailoutbox: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ALERT_SLACK_WEBHOOK, settings.ALERT_EMAIL_TO = "https://slack.example.ru/1", ["a@example.ru"]
    sent: list[str] = []
    monkeypatch.setattr(channels, "_post", lambda url, body, delivery: sent.append(body["text"]))
    outbox.put(fired, Delivery.Event.FIRING)
    outbox.deliver()
    assert path(fired) in sent[0]
    assert path(fired) in mailoutbox[0].body  # type: ignore[attr-defined]
    Delivery.objects.filter(channel=Channel.SLACK).update(payload={"timestamp": "t", "severity": "warning"})
    channels.SENDERS[Channel.SLACK](Delivery.objects.get(channel=Channel.SLACK))
    assert path(fired) not in sent[1], "the previous release queued it"
