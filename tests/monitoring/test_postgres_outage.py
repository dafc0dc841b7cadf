"""While PostgreSQL is silent reports are refused in time; /ready and /metrics answer. Without Redis reports go on."""

import os
from collections.abc import Callable, Iterator
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

from config.postgres.base import seconds_left
from monitoring.api import views
from monitoring.stats import cached
from monitoring.stats.models import CachedStatistic
from tests import limits
from tests.conftest import client_of
from tests.profiles.people import add_profile
from tests.servers import FaultyServer, servers
from tests.waiting import within

PATHS = [
    "/monitoring/profiles/coverage",
    "/monitoring/profiles/quality",
    "/monitoring/webhook/stats?period=hour",
    "/monitoring/rollout",
    "/monitoring/alerts",
]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis", "phases")]


@pytest.fixture(autouse=True)
def _open(settings: Settings) -> None:
    settings.DEBUG = True


class SilentPostgres:
    """Lets PostgreSQL, and the backend that serves this thread, take everything in and answer nothing.

    Meanwhile, the answers have the product's limits.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            self.backend = int(cursor.fetchone()[0])

    def pause(self) -> None:
        limits.have_product(self.patch, "monitoring.api.views")
        servers.postgres.pause()
        os.kill(self.backend, SIGSTOP)

    def resume(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.backend, SIGCONT)
        servers.postgres.resume()
        self.patch.undo()


@pytest.fixture
def paused_postgres() -> Iterator[SilentPostgres]:
    """PostgreSQL to be paused by the test."""
    postgres = SilentPostgres(pytest.MonkeyPatch())
    yield postgres
    postgres.resume()
    connection.close()


@pytest.mark.long
def test_it_works(client: Client, paused_postgres: SilentPostgres) -> None:
    assert client.get(PATHS[0]).status_code == 200
    paused_postgres.pause()
    with within(20):
        answer = client.get(PATHS[0])
    assert (answer.status_code, answer.json()["error"]["code"], answer["Retry-After"]) == (503, "UNAVAILABLE", "5")
    paused_postgres.resume()
    assert client.get(PATHS[0]).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_busy_machine_has_time(client: Client, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shorter limit than this one, which tests/config/test_limits.py compares with the documents."""
    monkeypatch.setattr(views, "POSTGRES_TIMEOUT_SECONDS", 60.0)
    left: list[float | None] = []

    def run(execute: Callable[..., Any], *arguments: Any) -> Any:
        left.append(seconds_left())
        return execute(*arguments)

    with connection.execute_wrapper(run):
        assert client.get(path).status_code == 200
    assert max(seconds for seconds in left if seconds is not None) > 40


@pytest.mark.long
@pytest.mark.parametrize("path", PATHS[1:])
def test_each_report_is_refused_with_503(client: Client, paused_postgres: SilentPostgres, path: str) -> None:
    paused_postgres.pause()
    with within(20):
        answer = client.get(path)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")


@pytest.mark.long
def test_health_and_ready_answer_in_time(client: Client, paused_postgres: SilentPostgres) -> None:
    paused_postgres.pause()
    with within(20):
        assert client.get("/health").status_code == 200
    with within(20):
        answer = client.get("/ready")
    assert (answer.status_code, answer.json()["database"], answer["Retry-After"]) == (503, False, "5")


@pytest.mark.long
def test_a_healthy_redis_has_time_after_a_silent_postgresql(client: Client, paused_postgres: SilentPostgres) -> None:
    """Giving up a statement may take longer than what was left for Redis, as on a busy machine."""
    assert client.get("/ready").json()["cache"]
    paused_postgres.pause()
    paused_postgres.patch.setattr(views, "_READY_POSTGRES_SECONDS", views._READY_SECONDS)
    paused_postgres.patch.setattr(views, "_LEAST_REDIS_SECONDS", 60.0)
    with within(20):
        answer = client.get("/ready")
    assert (answer.status_code, answer.json()["database"], answer.json()["cache"]) == (503, False, True)


@pytest.mark.long
def test_metrics_answer_in_time(client: Client, paused_postgres: SilentPostgres) -> None:
    client.get("/metrics")
    paused_postgres.pause()
    with within(20):
        assert "cache_connection_status 1" in client.get("/metrics").content.decode()


@pytest.mark.long
def test_a_token_whose_user_cannot_be_read_gets_503(
    settings: Settings, superadmin: User, paused_postgres: SilentPostgres
) -> None:
    settings.MONITORING_TOKEN = "another-way-in"
    client = client_of(superadmin)
    assert client.get(PATHS[0]).status_code == 200
    paused_postgres.pause()
    with within(20):
        answer = client.get(PATHS[0])
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")


@pytest.mark.long
@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_without_redis_the_last_numbers_of_the_cache_are_shown(
    client: Client, redis_server: FaultyServer, fault: str
) -> None:
    add_profile("1")
    cached.take()
    CachedStatistic.objects.filter(name="cache").update(at=timezone.now() - timedelta(seconds=600))
    getattr(redis_server, fault)()
    with within(20):
        report = client.get("/monitoring/cache-health").json()
    assert (report["degraded"], report["redis_connected"], report["cached_profiles"]) == (True, False, 1)
    assert report["age_seconds"] == pytest.approx(600, abs=60)
    assert report["last_error"]
    assert client.get("/monitoring/profiles/coverage").json()["degraded"] is False
