"""Every process follows a change within two seconds and reports it, without Redis."""

import itertools
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

# Whoever is late on a slow machine is not silent.
STEADY = pytest.mark.usefixtures("steady_heartbeats")

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("slow")]


def wait_for(is_reached: Callable[[Convergence], bool]) -> Convergence:
    deadline = time.monotonic() + 60
    while not is_reached(found := convergence()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)
    return found


def wait_for_living(count: int) -> Convergence:
    return wait_for(lambda found: found.living == count)


def shell_environment() -> dict[str, str]:
    settings = connection.settings_dict
    url = f"postgresql://{settings['USER']}@/{settings['NAME']}?host={settings['HOST']}&port={settings['PORT'] or 5432}"
    return os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}


@pytest.fixture
def processes(phases: Phases) -> Iterator[list[Forked]]:
    phases(100, 100, 25)
    with ExitStack() as stack:
        running = [stack.enter_context(forked(partial(run_heartbeat, kind))) for kind in PROCESSES]
        wait_for_living(len(PROCESSES))
        yield running


def propagated() -> Convergence:
    return wait_for(lambda found: found.is_complete)


@STEADY
@pytest.mark.alone
def test_a_change_is_everywhere_within_two_seconds(processes: list[Forked], redis_server: FaultyServer) -> None:
    percents = itertools.count(30)
    faults: list[Callable[[], None]] = [lambda: None, redis_server.pause, redis_server.kill]
    for fault in faults:
        fault()
        seconds: list[float] = []
        # A slow machine may stand still during a change, and not during each of them.
        while not seconds or min(seconds) >= 2:
            assert len(seconds) < 3, seconds
            change("set", phase=3, percent=next(percents), by="test", reason="propagation")
            after = propagated()
            assert (len(after.reached), after.behind, after.silent) == (len(PROCESSES), [], [])
            assert after.seconds is not None
            seconds.append(after.seconds)


@pytest.mark.long
def test_a_killed_process_is_silent_and_does_not_count(processes: list[Forked]) -> None:
    processes[-1].kill()
    wait_for(lambda left: left.living == 4 and [name.partition("-")[0] for name in left.silent] == ["worker"])


@STEADY
def test_a_process_reports_its_revision(phases: Phases) -> None:
    phases(100, 100, 25)
    heartbeat_thread.start("inbox")
    assert wait_for_living(1).reached[0].startswith("inbox-")
    assert Heartbeat.objects.get().revision == Rollout.current().revision
    heartbeat_thread.stop()
    wait_for(lambda _: not Heartbeat.objects.exists())


@pytest.mark.long
@STEADY
def test_a_late_process_does_not_slow_a_revision(phases: Phases) -> None:
    change("set", phase=1, percent=100, by="test", reason="r")
    Rollout.objects.update(revised_at=timezone.now() - timedelta(hours=1))
    heartbeat_thread.start("inbox")
    assert wait_for_living(1).seconds == 0
    change("set", phase=2, percent=100, by="test", reason="r")
    # The hour does not count.
    assert 0 < (propagated().seconds or 0) < 60


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


@STEADY
@pytest.mark.integration
@pytest.mark.timeout(180)
def test_every_pool_and_the_scheduler_report_and_leave(
    celery: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    running = [
        celery(f"worker --loglevel ERROR --concurrency 1 --without-mingle --pool {pool} --hostname {number}@here")
        for number, pool in enumerate(("prefork", "solo", "threads"))
    ]
    running.append(celery(f"beat --loglevel ERROR --schedule {tmp_path / 'schedule'}"))
    kinds = sorted(process.partition("-")[0] for process in wait_for_living(4).reached)
    assert kinds == ["beat", "worker", "worker", "worker"]
    for process in running:
        process.terminate()
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    assert not Heartbeat.objects.exists()


def live_until(end: Any) -> None:
    heartbeat_thread.start("web")
    end.wait()


@STEADY
@pytest.mark.integration
def test_a_child_of_multiprocessing_leaves(phases: Phases) -> None:
    """As the web server's workers are: they end without what atexit would do."""
    connection.close()
    context = multiprocessing.get_context("fork")
    end = context.Event()
    child = context.Process(target=live_until, args=[end])
    child.start()
    wait_for_living(1)
    end.set()
    child.join(60)
    assert (child.exitcode, Heartbeat.objects.count()) == (0, 0)


@STEADY
def test_a_forked_child_reports_for_itself(phases: Phases) -> None:
    heartbeat_thread.start("web")
    wait_for_living(1)
    with forked(partial(run_heartbeat, "worker")):
        wait_for_living(2)
