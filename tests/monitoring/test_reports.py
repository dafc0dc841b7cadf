from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from waffle.models import Switch

from employees.models import Employee, University
from profiles.rollout.decision import forget_state
from tests.conftest import client_of
from tests.profiles.people import add_profile
from tests.servers import FaultyServer
from webhooks.models import DuplicateDelivery, InboxUpdate, State

TOKEN = "monitoring-token"
REPORTS = [
    "/monitoring/profiles/coverage",
    "/monitoring/profiles/quality",
    "/monitoring/webhook/stats",
    "/monitoring/cache-health",
]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


@pytest.fixture(autouse=True)
def _open(settings: Settings) -> None:
    settings.DEBUG = True


def report(client: Client, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.json()


def hire(university: University, phone: int, max_id: str | None) -> None:
    Employee.objects.create(phone=f"+7916000{phone:04d}", max_id=max_id, university=university)


def test_coverage_counts_employees_and_other_known_users(client: Client, university: University) -> None:
    add_profile("1", "Иван", "Петров")
    add_profile("2", "Иван", "")
    add_profile("3", None, "")
    add_profile("4", "Иван", None, "Ваня")
    for phone, max_id in enumerate(["1", "2", "2", "9", None]):
        hire(university, phone, max_id)
    body = report(client, REPORTS[0])
    # Five employees, and profiles 3 and 4 without an employee.
    assert (body["total_users"], body["users_with_profiles"], body["users_with_full_names"]) == (7, 4, 2)
    assert (body["coverage_percentage"], body["full_name_percentage"]) == (57.14, 28.57)
    assert body["profiles_by_source"] == {"webhook": 3, "user_input": 1}
    assert report(client, "/monitoring/profile-stats")["total_users"] == 7


def test_quality_follows_from_the_names_and_their_age(client: Client) -> None:
    add_profile("1", "Иван", "Петров")
    add_profile("2", "Иван", "", age=timedelta(days=31))
    add_profile("3", "Иван", None)
    add_profile("4", None, "")
    body = report(client, REPORTS[1])
    assert body["quality_metrics"] == {
        "complete_profiles": 2,
        "partial_profiles": 1,
        "empty_profiles": 1,
        "stale_profiles": 1,
        "completeness_score": 62.5,
        "freshness_score": 75.0,
        "quality_score": 66.25,
    }
    assert {issue["type"]: issue["count"] for issue in body["data_issues"]} == {
        "partial_profiles": 1,
        "empty_profiles": 1,
        "stale_profiles": 1,
    }
    assert body["source_breakdown"]["webhook"]["average_age_days"] == 7.75


def test_an_empty_system_scores_zero(client: Client) -> None:
    assert report(client, REPORTS[0])["coverage_percentage"] == 0
    assert report(client, REPORTS[1])["quality_metrics"]["quality_score"] == 0
    assert report(client, REPORTS[1])["recommended_actions"]


def arrive(state: State, *, ago: timedelta, **fields: Any) -> None:
    InboxUpdate.objects.create(
        dedup_key=str(InboxUpdate.objects.count()).encode(),
        update_type=fields.pop("update_type", "bot_started"),
        state=state,
        received_at=timezone.now() - ago,
        next_try_at=timezone.now(),
        finished_at=None if state == State.PENDING else timezone.now(),
        **fields,
    )


@pytest.mark.parametrize(("period", "total"), [("hour", 1), ("day", 2), ("week", 3), ("month", 4)])
def test_the_window_slides(client: Client, period: str, total: int) -> None:
    for ago in (timedelta(minutes=30), timedelta(hours=2), timedelta(hours=25), timedelta(days=8), timedelta(days=31)):
        arrive(State.DONE, ago=ago)
    assert report(client, f"{REPORTS[2]}?period={period}")["total_events"] == total


def test_statistics_of_the_webhook(client: Client) -> None:
    minute = timedelta(minutes=1)
    arrive(State.DONE, ago=minute, has_names=True, has_changed_profile=True, processing_ms=1.0)
    arrive(State.DONE, ago=minute, update_type="other", has_names=True, processing_ms=3.0)
    arrive(State.SKIPPED, ago=minute)
    arrive(State.PENDING, ago=minute)
    arrive(State.QUARANTINED, ago=minute, reason="the body is empty")
    arrive(State.DEAD, ago=minute, reason="ValueError")
    DuplicateDelivery.objects.create(dedup_key=b"x", update_type="other", received_at=timezone.now())
    body = report(client, REPORTS[2])
    assert {name: body[name] for name in body if name.endswith("_events")} == {
        "total_events": 6,
        "successful_events": 3,
        "failed_events": 2,
        "pending_events": 1,
        "duplicate_events": 1,
    }
    assert body["events_by_type"] == {"bot_started": 5, "other": 1}
    assert body["errors_by_type"] == {"the body is empty": 1, "ValueError": 1}
    assert (body["profiles_extracted"], body["profiles_stored"]) == (2, 1)
    assert body["average_processing_time_ms"] == 2.0
    percentiles = [body[f"p{share}_processing_time_ms"] for share in (50, 95, 99)]
    assert percentiles == pytest.approx([2.0, 2.9, 2.98], rel=0.025)


def test_it_refuses_an_unknown_period(client: Client) -> None:
    answer = client.get(f"{REPORTS[2]}?period=year")
    assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, ["period"])


def test_cache_health(client: Client, redis_server: FaultyServer) -> None:
    add_profile("7")
    body = report(client, REPORTS[3])
    assert (body["redis_connected"], body["breaker"], body["maxmemory_policy"]) == (True, "closed", "allkeys-lru")
    redis_server.kill()
    assert report(client, REPORTS[3])["redis_connected"] is False


@pytest.mark.parametrize("path", [*REPORTS, "/metrics"])
def test_they_are_closed_in_production(client: Client, settings: Settings, path: str) -> None:
    settings.DEBUG = False
    settings.MONITORING_TOKEN = TOKEN
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_staff_may_look_in_production(settings: Settings, superadmin: User) -> None:
    settings.DEBUG = False
    reader = User.objects.create_user("reader")
    assert client_of(superadmin).get(REPORTS[0]).status_code == 200
    assert client_of(reader).get(REPORTS[0]).status_code == 403


@pytest.mark.parametrize("path", REPORTS)
def test_a_report_costs_a_constant_number_of_queries(
    client: Client, django_assert_max_num_queries: Callable[[int], Any], path: str
) -> None:
    for number in range(1, 20):
        add_profile(str(number))
    # The very first report keeps what it counted.
    client.get(path)
    with django_assert_max_num_queries(8):
        client.get(path)


@pytest.mark.parametrize("path", REPORTS)
def test_they_are_not_found_when_switched_off(client: Client, settings: Settings, path: str) -> None:
    settings.MONITORING_ENABLED = False
    assert client.get(path).status_code == 404
    settings.MONITORING_ENABLED = True
    Switch.objects.filter(name="monitoring").update(active=False)
    forget_state()
    assert client.get(path).status_code == 404
    assert client.get("/health").status_code == 200
