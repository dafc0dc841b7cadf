"""Every process follows a change within two seconds and reports it, without Redis."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from profiles.rollout.heartbeat import Convergence, convergence, heartbeat_thread
from profiles.rollout.models import Heartbeat, Rollout
from tests.conftest import Phases
from tests.forked import Forked, forked, run_heartbeat
from tests.rollout.changing import change
from tests.servers import FaultyServer

PROCESSES = ["web", "web", "web", "web", "worker"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("slow")]


def wait_for(is_true: Callable[[], bool], seconds: float = 10) -> float:
    started = time.monotonic()
    while not is_true():
        assert time.monotonic() - started < seconds, "it took too long"
        time.sleep(0.02)
    return time.monotonic() - started


def shell_environment() -> dict[str, str]:
    settings = connection.settings_dict
    url = f"postgresql://{settings['USER']}@/{settings['NAME']}?host={settings['HOST']}&port={settings['PORT'] or 5432}"
    return os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}


@pytest.fixture
def processes(phases: Phases) -> Iterator[list[Forked]]:
    phases(100, 100, 25)
    with ExitStack() as stack:
        running = [stack.enter_context(forked(partial(run_heartbeat, kind))) for kind in PROCESSES]
        wait_for(lambda: convergence().living == len(PROCESSES), 30)
        yield running


def propagated() -> Convergence:
    wait_for(lambda: convergence().is_complete, 5)
    return convergence()


@pytest.mark.alone
@pytest.mark.timeout(90)
def test_a_change_is_everywhere_within_two_seconds(processes: list[Forked], redis_server: FaultyServer) -> None:
    for number, fault in enumerate([lambda: None, redis_server.pause, redis_server.kill]):
        fault()
        change("set", phase=3, percent=30 + number, by="test", reason="propagation")
        after = propagated()
        assert (len(after.reached), after.behind, after.silent) == (len(PROCESSES), [], [])
        assert after.seconds is not None
        assert after.seconds < 2


def test_a_killed_process_is_silent_and_does_not_count(processes: list[Forked]) -> None:
    processes[-1].kill()
    wait_for(lambda: len(convergence().silent) == 1)
    left = convergence()
    assert left.living == 4
    assert left.silent[0].startswith("worker-")


def test_a_process_reports_its_revision(phases: Phases) -> None:
    phases(100, 100, 25)
    heartbeat_thread.start("inbox")
    wait_for(lambda: convergence().living == 1)
    assert convergence().reached[0].startswith("inbox-")
    assert Heartbeat.objects.get().revision == Rollout.current().revision
    heartbeat_thread.stop()
    assert not Heartbeat.objects.exists()


def test_a_late_process_does_not_slow_a_revision(phases: Phases) -> None:
    change("set", phase=1, percent=100, by="test", reason="r")
    Rollout.objects.update(revised_at=timezone.now() - timedelta(hours=1))
    heartbeat_thread.start("inbox")
    wait_for(lambda: convergence().living == 1)
    assert convergence().seconds == 0
    change("set", phase=2, percent=100, by="test", reason="r")
    assert 0 < (propagated().seconds or 0) < 5


@pytest.fixture
def celery(phases: Phases, broker_server: FaultyServer) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    running = []

    def start(words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "--app", "config.celery", "--quiet", *words.split()]
        running.append(subprocess.Popen(command, env=shell_environment(), start_new_session=True))  # noqa: S603
        return running[-1]

    yield start
    for process in running:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.integration
@pytest.mark.timeout(90)
def test_every_pool_and_the_scheduler_report_and_leave(
    celery: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    running = [
        celery(f"worker --loglevel ERROR --concurrency 1 --without-mingle --pool {pool} --hostname {number}@here")
        for number, pool in enumerate(("prefork", "solo", "threads"))
    ]
    running.append(celery(f"beat --loglevel ERROR --schedule {tmp_path / 'schedule'}"))
    wait_for(lambda: convergence().living == 4, 60)
    kinds = sorted(process.partition("-")[0] for process in convergence().reached)
    assert kinds == ["beat", "worker", "worker", "worker"]
    for process in running:
        process.terminate()
    assert [process.wait(20) for process in running] == [0, 0, 0, 0]
    assert not Heartbeat.objects.exists()


def live_until(end: Any) -> None:
    heartbeat_thread.start("web")
    end.wait()


@pytest.mark.integration
def test_a_child_of_multiprocessing_leaves(phases: Phases) -> None:
    """As the web server's workers are: they end without what atexit would do."""
    connection.close()
    context = multiprocessing.get_context("fork")
    end = context.Event()
    child = context.Process(target=live_until, args=[end])
    child.start()
    wait_for(lambda: convergence().living == 1)
    end.set()
    child.join(10)
    assert (child.exitcode, Heartbeat.objects.count()) == (0, 0)


def test_a_forked_child_reports_for_itself(phases: Phases) -> None:
    heartbeat_thread.start("web")
    wait_for(lambda: convergence().living == 1)
    with forked(partial(run_heartbeat, "worker")):
        wait_for(lambda: convergence().living == 2)
