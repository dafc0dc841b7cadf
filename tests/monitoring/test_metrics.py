"""/metrics is correct across processes and does not grow with the input."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from config.dev.processes import BASE_DIR
from monitoring.indicators import rounds
from monitoring.stats.process_counters import counted
from tests.profiles.people import add_profile
from tests.webhooks.sending import send
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis", "cache_first")]


@pytest.fixture(autouse=True)
def _open(settings: Settings) -> None:
    settings.DEBUG = True


def series(client: Client) -> dict[str, float]:
    text = client.get("/metrics").content.decode()
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def message(kind: str, user_id: int) -> dict[str, object]:
    return {"update_type": kind, "timestamp": 1_764_000_000_000 + user_id, "user": {"user_id": user_id, "name": "Имя"}}


def test_it_works(client: Client) -> None:
    add_profile("7")
    before = series(client)
    send(message("bot_started", 1))
    send(message("bot_started", 1))
    send(b"not json")
    process_inbox()
    rounds.take_round()
    after = series(client)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    labels = "webhook_events_total[('status', '{}'), ('type', '{}')]"
    assert grown(labels.format("success", "bot_started")) == 1
    assert grown(labels.format("duplicate", "bot_started")) == 1
    assert grown(labels.format("failed", "other")) == 1
    assert grown("webhook_processing_duration_seconds_count[]") == 1
    assert grown("cache_operations_total[('operation', 'set'), ('status', 'success')]") == 1
    assert after["cache_connection_status[]"] == 1
    assert after["profile_total[('source', 'webhook')]"] == 2
    assert after["rollout_percent[('flag', 'phase3_cache_first')]"] == 100


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.integration)])
def test_random_types_add_one_series(client: Client, count: int) -> None:
    send(message("bot_started", 1))
    process_inbox()
    # A scrape has a second for PostgreSQL, and the first round takes longer on a busy machine.
    rounds.take_round()
    client.get("/metrics")
    before = series(client)
    dice = random.Random(7)
    for start in range(0, count, 100):
        kinds = [f"type_{dice.getrandbits(64):x}" for _ in range(100)]
        send({"updates": [message(kind, start + number) for number, kind in enumerate(kinds, 2)]})
    process_inbox()
    text = client.get("/metrics").content
    after = series(client)
    assert after["webhook_events_total[('status', 'success'), ('type', 'other')]"] >= count
    assert set(after) - set(before) <= {"webhook_events_total[('status', 'success'), ('type', 'other')]"}
    assert len(text) < 256_000


def test_it_has_the_counters_without_postgresql(client: Client) -> None:
    def refuse(*args: object) -> None:
        raise OperationalError

    with connection.execute_wrapper(refuse):
        text = client.get("/metrics").content.decode()
    assert "cache_operations_total" in text
    assert "cache_connection_status 1.0" in text
    assert "profile_total" not in text


COUNTING = """
from django.conf import settings
settings.DEBUG
from prometheus_client import Counter, Gauge
Counter("seen", "x", ["process"]).labels("me").inc({n})
Gauge("alive", "x", multiprocess_mode="livesum").set(1)
"""


def test_it_archives_the_counts_of_ended_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for n in (1, 2, 4):
        # A child that ends: one that is still alive keeps its file.
        subprocess.run([sys.executable, "-c", COUNTING.format(n=n)], cwd=BASE_DIR, env=os.environ, check=True)  # noqa: S603
    assert len(list(tmp_path.glob("counter_*.db"))) == 3
    for _ in range(2):
        assert counted("seen") == {("me",): 7}
    assert [path.name.rpartition("-")[2] for path in tmp_path.glob("*.db")] == ["dead.db"]


def test_it_works_when_the_directory_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    folder = tmp_path / "prometheus"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    answer = client.get("/metrics")
    assert (answer.status_code, b"rollout_percent" in answer.content, folder.is_dir()) == (200, True, True)
    assert counted("seen") == {}
    folder.joinpath("lock").unlink()
    folder.rmdir()
    # Nothing can be created in the place of a file.
    folder.write_text("")
    assert client.get("/metrics").status_code == 200


def test_a_living_process_keeps_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    waiting = COUNTING.format(n=3) + "\nprint(flush=True)\ninput()"
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", waiting], cwd=BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert counted("seen") == {("me",): 3}
        assert len(list(tmp_path.glob("gauge_*.db"))) == 1
        child.communicate(b"\n")
    assert counted("seen") == {("me",): 3}
    assert not list(tmp_path.glob("gauge_*.db"))


SERVING = """
import django
django.setup()
from django.test import Client
from webhooks import receiver
for _ in range({n}):
    Client().get("/health")
    receiver.refusals.labels("401").inc()
print(flush=True)
input()
"""


@pytest.mark.integration
def test_it_sums_the_metrics_of_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setenv("DEBUG", "true")
    workers = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-W", "ignore", "-c", SERVING.format(n=n)],
            cwd=BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for n in (3, 4)
    ]
    view = "('view', 'monitoring.api.views.health')]"
    health = f"[('method', 'GET'), {view}"
    expected = {
        f"django_http_requests_latency_seconds_by_view_method_count{health}": 7,
        f"django_http_responses_total_by_status_view_method_total[('method', 'GET'), ('status', '200'), {view}": 7,
        "webhook_refusals_total[('status', '401')]": 7,
        "rollout_percent[('flag', 'phase3_cache_first')]": 100,
    }
    for worker in workers:
        assert worker.stdout
        worker.stdout.readline()
    assert {name: series(client).get(name) for name in expected} == expected, "while they live"
    for worker in workers:
        worker.communicate(b"\n")
    assert {name: series(client).get(name) for name in expected} == expected, "when they are gone"
