"""A host without a web server serves the counters of its processes, to those who have the token."""

import threading
from collections.abc import Iterator
from io import StringIO
from wsgiref.simple_server import make_server

import pytest
import requests
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from config.dev.embedded import free_port
from monitoring.management.commands.serve_metrics import respond
from webhooks import metrics


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    settings.MONITORING_TOKEN = "t" * 32
    with make_server("127.0.0.1", free_port(), respond) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_works(url: str) -> None:
    metrics.events.labels("other", "success").inc()
    answer = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {'t' * 32}"}, timeout=60)
    assert answer.status_code == 200
    assert 'webhook_events_total{status="success",type="other"}' in answer.text
    # These come from PostgreSQL, and every web host exports them.
    assert "employees_total" not in answer.text


@pytest.mark.long
@pytest.mark.parametrize(("path", "headers", "status"), [
    ("/metrics", {}, 401), ("/metrics", {"Authorization": "Bearer wrong"}, 401),
    ("/", {"Authorization": f"Bearer {'t' * 32}"}, 404),
])  # fmt: skip
def test_it_refuses_others(url: str, path: str, headers: dict[str, str], status: int) -> None:
    answer = requests.get(url + path, headers=headers, timeout=60)
    assert (answer.status_code, answer.text) == (status, "")


def test_it_refuses_to_start_without_a_token(settings: Settings) -> None:
    settings.DEBUG, settings.MONITORING_TOKEN = False, ""
    with pytest.raises(CommandError, match="MONITORING_TOKEN"):
        call_command("serve_metrics")


def test_it_names_a_port_in_use(url: str) -> None:
    with pytest.raises(CommandError, match="Address already in use"):
        call_command("serve_metrics", port=int(url.rpartition(":")[2]), stdout=StringIO())
