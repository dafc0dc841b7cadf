from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from monitoring.alerts import engine
from monitoring.stats.models import Sample
from tests.profiles.people import add_profile
from tests.servers import FaultyServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def refuse(*args: Any) -> None:
    raise OperationalError


def test_it_works(client: Client) -> None:
    Sample.objects.create(name=engine.LAST_CHECK, value=1)
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ok", "database": True, "cache": True}


def test_without_redis_it_is_degraded_and_ready(client: Client, redis_server: FaultyServer) -> None:
    Sample.objects.create(name=engine.LAST_CHECK, value=1)
    redis_server.kill()
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["reason"].startswith("Redis: ")


def test_without_postgresql_it_is_up_and_not_ready(client: Client) -> None:
    with connection.execute_wrapper(refuse):
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503


def test_without_postgresql_metrics_have_the_counters(client: Client, settings: Any) -> None:
    settings.DEBUG = True
    with connection.execute_wrapper(refuse):
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert b"webhook_empty_envelopes_total" in answer.content
    assert b"profile_total" not in answer.content


@pytest.mark.parametrize("path", ["/swagger/", "/openapi.json"])
def test_the_description_is_open(client: Client, path: str) -> None:
    assert client.get(path, headers={"Authorization": "Bearer nonsense"}).status_code == 200


def test_metrics(client: Client, settings: Any) -> None:
    settings.DEBUG = True
    add_profile("7")
    text = client.get("/metrics").content.decode()
    assert 'profile_total{source="webhook"} 1.0' in text
    assert "profile_completeness_rate 100.0" in text
    assert "cache_connection_status 1.0" in text


def test_metrics_can_be_turned_off(client: Client, settings: Any) -> None:
    settings.PROMETHEUS_ENABLED = False
    assert client.get("/metrics").status_code == 404
    assert client.get("/health").status_code == 200
