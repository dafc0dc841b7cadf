"""The fields of the original service's reports stand beside ours, with its scale: rates from 0 to 1."""

from datetime import timedelta

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from tests.monitoring.test_reports import arrive, report
from tests.profiles.people import add_profile
from webhooks.models import State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


@pytest.fixture(autouse=True)
def _open(settings: Settings) -> None:
    settings.DEBUG = True


def test_it_reports_profiles(client: Client) -> None:
    add_profile("1", "Иван", "Петров")
    add_profile("2", "Иван", None)
    add_profile("3", None, "", "Ваня")
    body = report(client, "/monitoring/profile-stats")
    assert (body["total_profiles"], body["complete_profiles"]) == (3, 1)
    assert body["completeness_rate"] == 0.3333
    assert body["source_breakdown"] == {"webhook": 2, "user_input": 1}
    quality = report(client, "/monitoring/profiles/quality")
    assert body["complete_profiles"] == quality["quality_metrics"]["complete_profiles"]
    assert body["total_profiles"] == quality["total_profiles"]
    coverage = report(client, "/monitoring/profiles/coverage")
    assert {name: body[name] for name in coverage} | {"last_updated": "", "age_seconds": 0} == coverage | {
        "last_updated": "",
        "age_seconds": 0,
    }


def test_it_reports_updates(client: Client) -> None:
    for state, hours in ((State.DONE, 1), (State.SKIPPED, 1), (State.DEAD, 1), (State.PENDING, 1), (State.DONE, 30)):
        arrive(state, ago=timedelta(hours=hours))
    arrive(State.DONE, ago=timedelta(hours=2), update_type="message_created")
    body = report(client, "/monitoring/webhook-stats?period=week")
    assert body["success_rate"] == 0.8
    assert body["event_types"] == body["events_by_type"] == {"bot_started": 5, "message_created": 1}
    assert body["last_24h"] == {"events": 5, "success_rate": 0.75}
    assert body.keys() > report(client, "/monitoring/webhook/stats?period=week").keys()


def test_it_reports_nothing(client: Client) -> None:
    assert report(client, "/monitoring/profile-stats")["completeness_rate"] == 0
    body = report(client, "/monitoring/webhook-stats")
    assert (body["success_rate"], body["last_24h"]) == (0, {"events": 0, "success_rate": 0})
    assert client.get("/monitoring/webhook-stats?period=year").status_code == 400
