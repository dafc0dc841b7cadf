"""Without one of its stores a report is the last good one, says so, and comes in time."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from monitoring import lasting
from monitoring.stats import population
from monitoring.stats.models import CachedStatistic
from tests.conftest import client_of
from tests.profiles.people import know
from tests.servers import FaultyServer, servers
from tests.webhooks.inbox_rows import row

PATHS = {
    "/monitoring/profiles/coverage": "total_users",
    "/monitoring/profiles/quality": "total_profiles",
    "/monitoring/webhook/stats?period=hour": "total_events",
    "/monitoring/rollout": "percents",
}

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis", "phases")]


@pytest.fixture(autouse=True)
def _open(settings: Settings) -> None:
    settings.DEBUG = True


def report(client: Client, path: str, within: float = 3.0) -> Any:
    started = time.monotonic()
    answer = client.get(path)
    assert answer.status_code == 200
    assert time.monotonic() - started < within
    return answer.json()


class SilentPostgres:
    """Lets PostgreSQL, and the backend that serves this thread, take everything in and answer nothing."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            self.backend = int(cursor.fetchone()[0])

    def pause(self) -> None:
        servers.postgres.pause()
        os.kill(self.backend, SIGSTOP)

    def resume(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.backend, SIGCONT)
        servers.postgres.resume()


@pytest.fixture
def paused_postgres() -> Iterator[SilentPostgres]:
    """PostgreSQL to be paused by the test."""
    postgres = SilentPostgres()
    yield postgres
    postgres.resume()
    connection.close()


@pytest.mark.parametrize(("path", "number"), PATHS.items())
def test_it_works_while_postgres_is_silent(
    client: Client, paused_postgres: SilentPostgres, path: str, number: str
) -> None:
    know("1")
    before = report(client, path)
    assert before["degraded"] is False
    paused_postgres.pause()
    told = report(client, path)
    assert (told["degraded"], told[number]) == (True, before[number])
    assert told["age_seconds"] > 0
    # Nobody who looks a moment later waits for it again.
    assert report(client, path, within=0.9)["degraded"] is True
    paused_postgres.resume()
    lasting.forget()
    assert report(client, path)["degraded"] is False


def test_metrics_answer_in_time_and_alerts_refuse_in_time(client: Client, paused_postgres: SilentPostgres) -> None:
    client.get("/metrics")
    paused_postgres.pause()
    started = time.monotonic()
    assert "cache_connection_status 1" in client.get("/metrics").content.decode()
    assert client.get("/monitoring/alerts").status_code == 503
    assert time.monotonic() - started < 6


def test_who_may_look_anyway_is_not_looked_up(superadmin: User, paused_postgres: SilentPostgres) -> None:
    client = client_of(superadmin)
    assert client.get("/monitoring/profiles/coverage").json()["degraded"] is False
    paused_postgres.pause()
    assert client.get("/monitoring/profiles/coverage").json()["degraded"] is True


@pytest.mark.parametrize(("is_staff", "status"), [(True, 200), (False, 403)])
def test_a_token_speaks_for_itself_meanwhile(
    settings: Settings, paused_postgres: SilentPostgres, is_staff: bool, status: int
) -> None:
    settings.MONITORING_TOKEN = "another-way-in"
    User.objects.create_user("anna", password="right", is_staff=is_staff)
    client = APIClient()
    token = client.post("/api/token", {"username": "anna", "password": "right"}, format="json").json()["access"]
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.get("/monitoring/profiles/coverage").status_code == status
    paused_postgres.pause()
    answer = client.get("/monitoring/profiles/coverage")
    assert (answer.status_code, answer.json().get("degraded")) == (status, True if is_staff else None)


def test_a_process_that_never_made_it_has_it_from_redis(client: Client, paused_postgres: SilentPostgres) -> None:
    know("1")
    lasting.keep_reports()
    report(client, "/monitoring/cache-health")
    paused_postgres.pause()
    told = report(client, "/monitoring/profiles/coverage")
    assert (told["degraded"], told["total_users"]) == (True, 1)


def test_what_the_worker_kept_later_is_told_rather_than_what_this_process_made(
    client: Client, paused_postgres: SilentPostgres
) -> None:
    report(client, "/monitoring/webhook/stats")
    row()
    lasting.keep_reports()
    paused_postgres.pause()
    told = report(client, "/monitoring/webhook/stats")
    assert (told["degraded"], told["total_events"]) == (True, 1)


def test_where_nobody_ever_knew_nothing_is_made_up(
    client: Client, paused_postgres: SilentPostgres, redis_server: FaultyServer
) -> None:
    report(client, "/monitoring/cache-health")
    paused_postgres.pause()
    redis_server.kill()
    told = report(client, "/monitoring/profiles/quality")
    assert (told["degraded"], told["total_profiles"], told["quality_metrics"]) == (True, None, None)
    assert report(client, "/monitoring/cache-health")["degraded"] is True


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_without_redis_the_last_numbers_of_the_cache_are_told(
    client: Client, redis_server: FaultyServer, fault: str
) -> None:
    know("1")
    population.take()
    CachedStatistic.objects.filter(name="cache").update(at=timezone.now() - timedelta(seconds=9))
    getattr(redis_server, fault)()
    told = report(client, "/monitoring/cache-health")
    assert (told["degraded"], told["redis_connected"], told["cached_profiles"]) == (True, False, 1)
    assert told["age_seconds"] == pytest.approx(9, abs=2)
    assert told["last_error"]
    assert report(client, "/monitoring/profiles/coverage")["degraded"] is False


def test_reports_do_not_count_as_cached_profiles(client: Client) -> None:
    know("1")
    lasting.keep_reports()
    assert report(client, "/monitoring/cache-health")["cached_profiles"] == 1
