"""The first page's numbers are those of the reports and alerts."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.test import Client

from monitoring.alerts.kinds import TEXTS, Kind
from monitoring.alerts.models import Alert
from tests.webhooks.inbox_rows import row
from webhooks.models import State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def test_errors_are_a_share_of_what_is_finished_within_24_hours(operator: Client) -> None:
    with time_machine.travel(datetime(2026, 11, 25, 9, 10, tzinfo=UTC), tick=False):
        row(State.DEAD, age=timedelta(hours=23, minutes=50))
        row(State.DEAD, age=timedelta(hours=24, minutes=10))
        for state in [State.DONE, State.SKIPPED, State.SKIPPED, *[State.PENDING] * 6]:
            row(state)
        told = operator.get("/admin/live/home/").context["traffic"]
    assert (told["received"], told["failed"], told["share"], told["is_bad"]) == (10, 1, 25.0, True)


@pytest.mark.parametrize(
    ("card", "path"),
    [("webhook", "/admin/webhooks/inboxupdate/"), ("alerts", "/admin/monitoring/alert/")],
)
def test_each_card_leads_to_its_list(operator: Client, card: str, path: str) -> None:
    page = operator.get("/admin/").content.decode()
    title = page.partition(f'<h2 id="home-{card}-title"')[2].partition("</div>")[0]
    assert f'href="{path}"' in title


def test_what_is_critical_comes_first(operator: Client) -> None:
    for kind, severity in zip(Kind, ["critical", "warning", "warning", "warning"], strict=False):
        words = dict.fromkeys(re.findall(r"%\((\w+)\)", str(TEXTS[kind])), "1")
        Alert.objects.create(kind=kind, severity=severity, message="m", words=words)
    told = operator.get("/admin/live/home/").context
    assert [alert.severity for alert in told["alerts"]] == ["critical", "warning", "warning"]
    assert told["has_more_alerts"]
