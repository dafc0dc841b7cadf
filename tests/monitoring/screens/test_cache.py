from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from monitoring.dashboard import charts
from monitoring.indicators import rounds
from monitoring.stats.models import Span
from monitoring.stats.rollups import start_of
from profiles import cache
from tests.e2e.sample_data import add_reading

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def _readings() -> None:
    hour = start_of(timezone.now(), Span.HOUR)
    for back in (1, 2):
        add_reading("cache_memory", hour - timedelta(hours=back), 3 * MEGABYTE)


def test_memory_is_drawn_with_its_limit(operator: Client) -> None:
    chart = charts.memory(256 * MEGABYTE)
    assert chart is not None
    used, limit = chart["series"]
    assert (set(used["data"]), set(limit["data"])) == ({None, 3.0}, {256.0})
    assert len(limit["data"]) == len(chart["labels"])
    assert operator.get("/admin/cache/").context["memory"]["series"]


def test_without_a_connection_there_is_no_response_time(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.cookies["django_language"] = "en"
    assert "response time" in operator.get("/admin/live/cache/").content.decode()
    gone = cache.health() | {"redis_connected": False, "last_error": "info: ConnectionError", "latency_ms": 501.1}
    monkeypatch.setattr(cache, "health", lambda: gone)
    rounds.take_round()
    page = operator.get("/admin/live/cache/").content.decode()
    assert "down" in page
    assert "501" not in page


@pytest.mark.parametrize("limit", [None, 0])
def test_without_a_limit_there_is_no_line(limit: int | None) -> None:
    chart = charts.memory(limit)
    assert chart is not None
    assert len(chart["series"]) == 1
