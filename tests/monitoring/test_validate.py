"""The synthetic person passes every step and leaves no trace; a failing step is named."""

import json
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django.fixtures import Settings
from redis import Redis
from waffle.models import Switch

from employees.models import Employee, University
from profiles.models import PhoneLink, Profile, WaitingComparison
from profiles.rollout.decision import forget_state
from tests.conftest import Phases
from tests.servers import FaultyServer
from tests.webhooks.sending import wsgi_application
from webhooks.models import DuplicateDelivery, InboxUpdate
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]

STEPS = [
    "database",
    "redis",
    "webhook",
    "wrong_secret",
    "repeat",
    "inbox",
    "profile",
    "cached",
    "employee",
    "monitoring",
]


@pytest.fixture
def worker() -> Iterator[None]:
    """The inbox worker, as a thread."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.05):
            process_inbox()
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopping.set()
    thread.join()


@pytest.fixture(autouse=True)
def _secret(settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = [b"the-right-secret"]


def validate(*words: str) -> Any:
    out = StringIO()
    try:
        call_command("validate", "--json", "--patience=60", *words, stdout=out)
    except CommandError as error:
        return json.loads(out.getvalue()) | {"error": str(error)}
    return json.loads(out.getvalue())


def traces() -> int:
    models = (Profile, PhoneLink, InboxUpdate, DuplicateDelivery, Employee, WaitingComparison, University)
    return sum(model.objects.count() for model in models)


@pytest.mark.usefixtures("worker")
def test_it_works(redis: Redis) -> None:
    report = validate()
    assert report["ok"]
    assert [(step["step"], step["status"]) for step in report["steps"]] == [
        (name, "ok") for name in (*STEPS, "no_trace")
    ]
    assert (traces(), redis.keys("profile:user:*")) == (0, [])


@pytest.mark.usefixtures("worker")
def test_it_prints_a_line_a_step(university: University) -> None:
    out = StringIO()
    call_command("validate", "--patience=60", stdout=out)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(STEPS) + 1
    assert all(line.startswith("✓") for line in lines)


@pytest.mark.usefixtures("worker")
def test_it_goes_by_http() -> None:
    class Quiet(WSGIRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with make_server("127.0.0.1", 0, wsgi_application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        report = validate("--url", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
    assert report["ok"], report
    assert traces() == 0


def test_it_names_a_worker_that_is_not_running(redis: Redis) -> None:
    report = validate("--patience", "0.2")
    assert report["error"].startswith("inbox: not processed within 0.2 s; check that the inbox worker is running")
    assert (traces(), redis.keys("profile:user:*")) == (0, [])


def test_it_names_a_web_server_that_does_not_answer() -> None:
    assert validate("--url", "http://127.0.0.1:1")["error"].startswith("webhook: http://127.0.0.1:1 does not answer")


@pytest.mark.usefixtures("worker")
def test_it_names_a_phase_that_is_off(phases: Phases) -> None:
    phases(100)
    assert "collection is off" in validate()["error"]
    phases(100, 100)
    report = validate()
    assert report["ok"]
    assert [step["step"] for step in report["steps"] if step["status"] == "skipped"] == ["employee"]
    Switch.objects.filter(name="webhook_processing").update(active=False)
    forget_state()
    assert "processing is off" in validate()["error"]
    assert traces() == 0


@pytest.mark.usefixtures("worker")
def test_it_names_redis(redis_server: FaultyServer) -> None:
    redis_server.kill()
    assert validate()["error"].startswith("redis: ")
    assert traces() == 0


@pytest.mark.parametrize(
    "url", ["nonsense", "", "127.0.0.1:8095", "ftp://host", "http://", "http://[::1", "http://a:b"]
)
def test_it_refuses_a_wrong_address(url: str) -> None:
    with pytest.raises(
        CommandError, match=r"^--url must be an address such as http://127\.0\.0\.1:8095, not “"
    ) as refused:
        call_command("validate", "--url", url)
    assert url in str(refused.value)
    assert not InboxUpdate.objects.exists()
