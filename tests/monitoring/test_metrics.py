"""/metrics is correct across processes and does not grow with the input."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from django.test import Client
from hypothesis import HealthCheck, example, given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from config.dev.processes import BASE_DIR
from config.lib.metric_files import HOST
from monitoring.indicators import rounds
from monitoring.indicators.models import Level
from monitoring.management.commands import serve_metrics
from monitoring.stats import process_counters, reports
from monitoring.stats.process_counters import SharedCollector, counted
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


@pytest.mark.long
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


# Linux has no process ID above 2**22.
DEAD, LIVING = 2**22 + 1, os.getpid()
COUNTING = """
from django.conf import settings
settings.DEBUG
from prometheus_client import Counter, Gauge
Counter("seen", "x", ["process"]).labels("me").inc({n})
Gauge("alive", "x", multiprocess_mode="livesum").set(1)
"""


@pytest.mark.long
def test_it_archives_the_counts_of_ended_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for n in (1, 2, 4):
        # A child that ends: one that is still alive keeps its file.
        subprocess.run([sys.executable, "-c", COUNTING.format(n=n)], cwd=BASE_DIR, env=os.environ, check=True)  # noqa: S603
    assert len(list(tmp_path.glob("counter_*.db"))) == 3
    for _ in range(2):
        assert counted("seen") == {("me",): 7}
    assert [path.name.rpartition("-")[2] for path in tmp_path.glob("*.db")] == ["dead.db"]


def test_it_leaves_the_files_of_other_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    names = {f"counter_{host}-{DEAD}.{end}" for host in (f"{HOST}-2", f"2-{HOST}") for end in ("added", "sum", "new")}
    for name in names:
        (tmp_path / name).touch()
    assert counted("seen") == {}
    assert {path.name for path in tmp_path.iterdir()} == names | {"lock"}


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


@pytest.mark.long
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


KILLED = """
import os, signal, sys
from pathlib import Path
from config.lib import metric_files
metric_files.share()
from prometheus_client import CollectorRegistry, Counter
from monitoring.stats.process_counters import SharedCollector
seen, folder = Counter("seen", "x"), Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
registry, left = CollectorRegistry(), 0
registry.register(SharedCollector(folder))
def kill(event, args):
    global left
    if event in ("open", "os.rename", "os.remove") and str(folder) in str(args[0]):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
def run_child(call):
    child = os.fork()
    if not child:
        call()
        os._exit(0)
    return os.waitpid(child, 0)[1]
step, total, status = 0, 0, 1
while status:
    step += 1
    total += step
    run_child(lambda: seen.inc(step))
    left = step
    status = run_child(lambda: registry.get_sample_value("seen_total"))
    left = 0
    assert status in (0, signal.SIGKILL), status
    assert registry.get_sample_value("seen_total") == total, step
print(step, *sorted(path.name.rpartition(metric_files.HOST)[2] for path in folder.iterdir()), os.getpid())
"""


@pytest.mark.long
def test_a_collector_killed_at_any_step_counts_the_dead_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    command = [sys.executable, "-W", "ignore", "-c", KILLED]
    done = subprocess.run(command, cwd=BASE_DIR, env=os.environ, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    steps, *files, pid = done.stdout.split()
    assert (int(steps) > 10, files) == (True, [f"-{pid}.db", "-dead.db", "lock"])


CREATING = """
import os, signal
from config.lib import metric_files
metric_files.share()
from prometheus_client import Counter
os.posix_fallocate = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Counter("a", "b").inc()
"""


def test_a_process_killed_while_it_creates_its_file_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", CREATING], cwd=BASE_DIR, env=os.environ, check=False)  # noqa: S603
    assert (killed.returncode, list(tmp_path.glob("*.db"))) == (-signal.SIGKILL, [])
    assert list(tmp_path.iterdir())
    assert counted("a") == {}
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@settings_of(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example(kept=0, kind="counter", pid=LIVING, noise={})
@example(kept=0, kind="counter", pid=DEAD, noise={})
@example(kept=0, kind="histogram", pid=LIVING, noise={})
@example(kept=7, kind="gauge_livesum", pid=DEAD, noise={})
@example(kept=112, kind="counter", pid=DEAD, noise={12: 0})
@given(
    st.integers(0, 200),
    st.sampled_from(["counter", "histogram", "gauge_livesum", "gauge_all"]),
    st.sampled_from([LIVING, DEAD]),
    st.dictionaries(st.integers(0, 199), st.integers(0, 255), max_size=5),
)
def test_a_damaged_file_spoils_no_other(
    tmp_path_factory: pytest.TempPathFactory, kept: int, kind: str, pid: int, noise: dict[int, int]
) -> None:
    """It is cut off, as by a process killed while it created the file, or has wrong bytes."""
    folder = tmp_path_factory.mktemp("metrics")
    key = mmap_key("bad", "bad_total", ["process"], ["me"], "x" * 40)
    for name, good in ((f"counter_{HOST}-{LIVING}7.db", "good"), (f"{kind}_{HOST}-{pid}.db", "")):
        file = MmapedDict(str(folder / name))  # type: ignore[no-untyped-call]
        file.write_value(mmap_key(good, f"{good}_total", [], [], "x") if good else key, 5.0, 0.0)  # type: ignore[no-untyped-call]
        file.close()  # type: ignore[no-untyped-call]
    content = bytearray((folder / name).read_bytes())
    for place, byte in noise.items():
        content[place] = byte
    (folder / name).write_bytes(content[:kept] if kept < 200 else content)
    registry = CollectorRegistry()
    registry.register(SharedCollector(folder))
    for _ in range(2):
        assert registry.get_sample_value("good_total") == 5
    assert (folder / name).exists() == (pid == LIVING)


@pytest.mark.long
def test_a_frozen_collector_delays_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(process_counters, "_LOCK_SECONDS", 0.5)
    rounds.take_round()
    statuses = list[str]()
    holding = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", holding, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:  # noqa: S603
        assert holder.stdout
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        giving_up = threading.Timer(60, holder.kill)
        giving_up.start()
        try:
            answer = client.get("/metrics")
            health = reports.cache_health()
            readings = rounds.take_round()
            serve_metrics.respond({"PATH_INFO": "/metrics"}, lambda status, _headers: statuses.append(status))  # type: ignore[arg-type]
        finally:
            giving_up.cancel()
            holder.kill()
    assert time.monotonic() - started < 40
    assert statuses == ["503 Service Unavailable"]
    assert (answer.status_code, b"rollout_percent" in answer.content, health["redis_connected"]) == (200, True, True)
    levels = (readings["secret_failures"].level, readings["dead_letters"].level)
    assert levels == (Level.ERROR, Level.OK)
    assert rounds.take_round()["secret_failures"].level == Level.OK


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
