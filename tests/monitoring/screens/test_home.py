"""The home page shows the numbers of the reports and alerts."""

import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from monitoring.alerts.kinds import CHECKS, Kind
from monitoring.alerts.models import Alert
from monitoring.stats.rollups import roll_up
from profiles.rollout.models import Flag, Heartbeat
from tests.conftest import Phases
from tests.webhooks.inbox_rows import row
from webhooks.models import State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def test_updates_and_errors_of_24_hours_are_counted(operator: Client) -> None:
    with time_machine.travel(datetime(2026, 11, 25, 9, 10, tzinfo=UTC), tick=False):
        row(State.DEAD, age=timedelta(hours=23, minutes=50))
        row(State.DEAD, age=timedelta(hours=24, minutes=10))
        for state in [State.DONE, State.SKIPPED, State.SKIPPED, *[State.PENDING] * 6]:
            row(state)
        traffic = operator.get("/admin/live/home/").context["traffic"]
    assert (traffic["received"], traffic["failed"]) == (10, 1)


@pytest.mark.long
@pytest.mark.parametrize("moment", ["09:10:20.5", "00:00:30", "23:59:59.999999", "09:00:00"])
def test_card_chart_and_reports_count_the_same(operator: Client, moment: str) -> None:
    with time_machine.travel(datetime.fromisoformat(f"2026-11-25T{moment}+00:00"), tick=False):
        for minutes in (0, 9, 59, 61, 600, 23 * 60 + 50, 24 * 60 - 1, 24 * 60 + 1, 25 * 60):
            for state in (State.DONE, State.PENDING, State.DEAD):
                row(state, age=timedelta(minutes=minutes))
        roll_up()
        row(State.SKIPPED, age=timedelta(minutes=23 * 60 + 55))
        shown = operator.get("/admin/live/home/").context["traffic"]
        stats = operator.get("/monitoring/webhook/stats?period=day").json()
        out = io.StringIO()
        call_command("report", "--daily", "--json", stdout=out)
    [reported] = [dict(table["rows"]) for table in json.loads(out.getvalue())["tables"] if table["title"] == "Webhook"]
    errors, others = (sum(series["data"]) for series in shown["chart"]["series"])
    assert shown["received"] == errors + others == stats["total_events"] == reported["total_events"] == 22
    assert shown["failed"] == errors == stats["failed_events"] == reported["failed_events"] == 7


@pytest.mark.long
@pytest.mark.usefixtures("steady_heartbeats")
@pytest.mark.parametrize(
    ("living", "age", "text"),
    [
        ("inbox-host-1", timedelta(seconds=45), "Processing."),
        ("inbox-host-1", timedelta(minutes=6), "The oldest update has been waiting for more than 5"),
        ("web-host-1", timedelta(seconds=45), "No inbox worker is running"),
    ],
)
def test_the_inbox_card_shows_what_the_worker_does(operator: Client, living: str, age: timedelta, text: str) -> None:
    operator.cookies["django_language"] = "en"
    Heartbeat.objects.create(process=living, revision=0)
    row(State.PENDING, age=age)
    page = operator.get("/admin/live/home/").content.decode()
    card = page.partition('<div id="home-inbox">')[2].partition("</section>")[0]
    assert text in card
    assert ("Processing." in card) == (text == "Processing.")


def test_a_silent_process_does_not_count_as_a_worker(operator: Client) -> None:
    operator.cookies["django_language"] = "en"
    Heartbeat.objects.create(process="inbox-host-1", revision=0, seen_at=timezone.now() - timedelta(seconds=45))
    row(State.PENDING, age=timedelta(seconds=45))
    assert "No inbox worker is running" in operator.get("/admin/live/home/").content.decode()


def test_each_phase_shows_its_last_change(operator: Client, phases: Phases) -> None:
    operator.cookies["django_language"] = "en"
    phases(100, 100, 25)
    Flag.objects.update(moved_at=timezone.now() - timedelta(days=3))
    page = operator.get("/admin/live/home/").content.decode()
    cards = [page.partition(f'id="home-phase-{n}"')[2].partition("</a>")[0] for n in (1, 2, 3, 4)]
    assert [" ".join(card.split()).count("Last change 3 d ago") for card in cards] == [1, 1, 1, 1]


@pytest.mark.long
@pytest.mark.parametrize(
    ("card", "path"),
    [("webhook", "/admin/webhooks/inboxupdate/"), ("alerts", "/admin/monitoring/alert/")],
)
def test_each_card_links_to_its_list(operator: Client, card: str, path: str) -> None:
    Alert.objects.create(kind=Kind.DEAD_LETTERS, severity="critical", message="m")
    page = operator.get("/admin/").content.decode()
    title = page.partition(f'id="home-{card}')[2].partition("</div>")[0]
    assert f'href="{path}"' in title


def test_critical_alerts_come_first(operator: Client) -> None:
    for kind, severity in zip(Kind, ["critical", "warning", "warning", "warning"], strict=False):
        words = dict.fromkeys(re.findall(r"%\((\w+)\)", CHECKS[kind].text), "1")
        Alert.objects.create(kind=kind, severity=severity, message="m", words=words)
    context = operator.get("/admin/live/home/").context
    assert [alert.severity for alert in context["alerts"]] == ["critical", "warning", "warning"]
    assert context["has_more_alerts"]
