"""Alerts in the admin: what is wrong, acknowledged and muted by whom; each answer recorded."""

from datetime import timedelta
from http import HTTPStatus

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from config.lib.audit_log import message_of
from monitoring.alerts.kinds import Kind, Severity
from monitoring.alerts.models import Alert

pytestmark = pytest.mark.django_db
LIST = "/admin/monitoring/alert/"


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def alert(**fields: object) -> Alert:
    return Alert.objects.create(
        **{"kind": Kind.DEAD_LETTERS, "severity": Severity.WARNING, "message": "m", "words": {"count": 3}} | fields
    )


def answer(client: Client, of: Alert, name: str, **data: object) -> str:
    return client.post(f"{LIST}{of.pk}/answer/{name}/", data, follow=True).content.decode()


def test_it_works(admin: Client, superadmin: User) -> None:
    found = alert()
    assert "Dead letters of the last day: 3" in admin.get(LIST).content.decode()
    assert "The alert is acknowledged." in answer(admin, found, "acknowledge")
    assert "The alert is muted." in answer(admin, found, "mute", hours=4, reason="known <b>")
    found.refresh_from_db()
    assert (found.acknowledged_by, found.muted_by, found.mute_reason) == (superadmin, superadmin, "known <b>")
    assert found.muted_until is not None
    assert 3.9 < (found.muted_until - timezone.now()).total_seconds() / 3600 <= 4
    page = admin.get(f"{LIST}{found.pk}/change/").content.decode()
    assert "known &lt;b&gt;" in page
    assert "Unmute" in page
    answer(admin, found, "unmute")
    found.refresh_from_db()
    assert not found.is_muted
    texts = [str(message_of(row)) for row in LogEntry.objects.order_by("pk")]
    assert texts == ["Acknowledge", "Mute: known <b>", "Unmute"]
    history = admin.get(f"{LIST}{found.pk}/history/").content.decode()
    assert "Mute: known &lt;b&gt;" in history


def test_the_same_answer_twice_says_so_and_is_recorded_once(admin: Client) -> None:
    found = alert()
    answer(admin, found, "acknowledge")
    assert "The alert is acknowledged already" in answer(admin, found, "acknowledge")
    assert "The alert is not muted" in answer(admin, found, "unmute")
    assert LogEntry.objects.count() == 1


def test_the_list_is_filtered_by_how_they_stand(admin: Client) -> None:
    wanted = {
        "open": alert(),
        "resolved": alert(resolved_at=timezone.now()),
        "muted": alert(resolved_at=timezone.now(), muted_until=timezone.now() + timedelta(hours=1), mute_reason="x"),
    }
    found = {stand: set(admin.get(LIST, {"stands": stand}).context["cl"].result_list) for stand in wanted}
    assert wanted["open"] in found["open"]
    assert found["muted"] == {wanted["muted"]}
    assert found["resolved"] == {wanted["resolved"], wanted["muted"]}


@pytest.mark.parametrize("data", [{"hours": 4, "reason": " "}, {"hours": 5, "reason": "x"}, {}])
def test_it_refuses_a_mute_without_reason_or_end(admin: Client, data: dict[str, object]) -> None:
    found = alert()
    answer(admin, found, "mute", **data)
    found.refresh_from_db()
    assert not found.is_muted


def test_it_refuses_to_acknowledge_what_is_resolved(admin: Client) -> None:
    found = alert(resolved_at=timezone.now())
    assert "there is nothing to acknowledge" in answer(admin, found, "acknowledge")
    found.refresh_from_db()
    assert found.acknowledged_at is None


def test_it_refuses_who_may_only_look() -> None:
    found = alert()
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename="view_alert"))
    client = Client()
    client.force_login(reader)
    assert "answer" not in client.get(f"{LIST}{found.pk}/change/").content.decode()
    assert client.post(f"{LIST}{found.pk}/answer/acknowledge/").status_code == HTTPStatus.FORBIDDEN
    found.refresh_from_db()
    assert found.acknowledged_at is None
