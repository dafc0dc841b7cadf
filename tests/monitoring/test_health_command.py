"""One line per component, and an exit code."""

import socket
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from config.celery import app
from monitoring.alerts import engine
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from monitoring.management.commands import health as command
from monitoring.stats.models import Sample
from profiles.rollout.models import Heartbeat
from tests.loopback import Answer
from tests.servers import FaultyServer
from tests.webhooks.fake_platform import FakePlatform

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis", "phases")]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each check take as long as this machine needs."""
    for name in ("_ROUND_SECONDS", "_CHECK_SECONDS"):
        monkeypatch.setattr(command, name, 60.0)


@pytest.fixture
def all_living(steady_heartbeats: None) -> None:
    Sample.objects.create(name=engine.LAST_CHECK, value=1)
    for kind in ("web", "inbox", "worker", "beat"):
        Heartbeat.objects.create(process=f"{kind}-host-1", revision=99)


def health(url: str) -> tuple[dict[str, str], str]:
    out, error = StringIO(), ""
    try:
        call_command("health", "--url", url, stdout=out)
    except CommandError as refused:
        error = str(refused)
    return {line[:12].strip(): line[12:] for line in out.getvalue().splitlines()}, error


def test_it_counts_the_tasks_of_every_priority(
    live_server: LiveServer, all_living: None, broker_server: FaultyServer
) -> None:
    with app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        channel.queue_purge("celery")
        for priority in (0, 9):
            app.send_task("monitoring.tasks.deliver_alerts", priority=priority, connection=broker)
        assert health(live_server.url)[0]["broker"].endswith("queued tasks: 2")
        channel.queue_purge("celery")


def test_it_works(live_server: LiveServer, all_living: None) -> None:
    lines, error = health(live_server.url)
    assert list(lines) == [
        "web", "postgresql", "schema", "redis", "broker", "inbox", "worker", "beat",
        "inbox lag", "direct api", "rollout", "alerts",
    ]  # fmt: skip
    assert error == ""
    assert all(line.startswith("ok") for line in lines.values())
    assert lines["alerts"].endswith("none open")


def test_it_reports_what_is_down(all_living: None, redis_server: FaultyServer, broker_server: FaultyServer) -> None:
    redis_server.kill()
    broker_server.kill()
    Heartbeat.objects.filter(process__startswith="worker").delete()
    Alert.objects.create(kind=Kind.DEAD_LETTERS, severity="warning", message="m", words={"count": "1"})
    lines, error = health("http://127.0.0.1:1")
    assert error == "Not healthy: web, redis, broker, worker"
    assert "no answer" in lines["web"]
    assert lines["alerts"] == "ok    dead_letters (warning)"


def test_it_names_a_host_that_is_cut_off(live_server: LiveServer, all_living: None) -> None:
    minute_ago = timezone.now() - timedelta(minutes=1)
    for process in ("web-host-2", "web-web-2-7", "inbox-web-2-8"):
        Heartbeat.objects.create(process=process, revision=99, seen_at=minute_ago)
    lines, error = health(live_server.url)
    # Another process of “host” lives.
    assert lines["rollout"].endswith("4 of 4; hosts that are cut off: web-2")
    assert error == "Not healthy: rollout"


def test_a_critical_alert_is_unhealthy(live_server: LiveServer, all_living: None) -> None:
    Alert.objects.create(kind=Kind.DEAD_LETTERS, severity="critical", message="m", words={"count": "1"})
    lines, error = health(live_server.url)
    assert (lines["alerts"], error) == ("OPEN  dead_letters (critical)", "Not healthy: alerts")


def test_a_direct_api_that_max_does_not_have_is_down(
    live_server: LiveServer, all_living: None, platform: FakePlatform, settings: Settings
) -> None:
    settings.MAX_API_USERS_PATH = "/internal/none"
    rounds.take_round()
    lines, error = health(live_server.url)
    assert lines["direct api"] == "DOWN  MAX does not serve the direct API: there is no path /internal/none"
    assert error == "Not healthy: direct api"


@pytest.mark.long
def test_a_timeout_of_the_direct_api_is_shown_as_a_timeout(
    live_server: LiveServer, all_living: None, platform: FakePlatform, settings: Settings
) -> None:
    settings.MAX_API_TIMEOUT = timedelta(milliseconds=200)
    platform.answers = [Answer(delay=30)]
    rounds.take_round()
    lines, error = health(live_server.url)
    assert lines["direct api"].startswith("DOWN  Direct API could not be measured: MAX at 127.0.0.1")
    assert lines["direct api"].endswith("did not answer in time")
    assert error == "Not healthy: direct api"


@pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:port", "http://[::1", "ftp://host"])
def test_it_refuses_an_invalid_url(url: str) -> None:
    assert health(url) == ({}, f"--url must be an address such as http://127.0.0.1:8095, not “{url}”")


def test_a_server_without_http_is_down(all_living: None) -> None:
    def greet() -> None:
        for _ in range(2):
            with server.accept()[0] as client:
                client.sendall(b"SSH-2.0-x\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=greet).start()
        lines, _ = health(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert lines["web"].endswith("/ready no answer (not HTTP)")
