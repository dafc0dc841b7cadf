"""A change is in force in every process within two seconds, and each tells that it is; Redis has no part in it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from profiles.rollout import changes
from profiles.rollout.heartbeat import Convergence, convergence, pulse
from profiles.rollout.models import Heartbeat, Rollout
from profiles.rollout.rules import Order
from tests.conftest import Phases
from tests.servers import FaultyServer

PROCESSES = ["web", "web", "web", "web", "worker"]
PROCESS = """
import sys, threading, django
django.setup()
from profiles.rollout.heartbeat import pulse
pulse.start(sys.argv[1])
threading.Event().wait()
"""

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("slow")]


def wait_for(is_true: Callable[[], bool], seconds: float = 10) -> float:
    started = time.monotonic()
    while not is_true():
        assert time.monotonic() - started < seconds, "it took too long"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
def processes(phases: Phases) -> Iterator[list[subprocess.Popen[bytes]]]:
    phases(100, 100, 25)
    settings = connection.settings_dict
    url = f"postgresql://{settings['USER']}@/{settings['NAME']}?host={settings['HOST']}&port={settings['PORT'] or 5432}"
    env = os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, kind], env=env, stdout=subprocess.DEVNULL)  # noqa: S603
        for kind in PROCESSES
    ]
    try:
        wait_for(lambda: convergence().living == len(PROCESSES), 30)
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def spread() -> Convergence:
    wait_for(lambda: convergence().is_complete, 5)
    return convergence()


@pytest.mark.alone
@pytest.mark.timeout(90)
def test_a_change_is_everywhere_within_two_seconds(
    processes: list[subprocess.Popen[bytes]], redis_server: FaultyServer
) -> None:
    for number, fault in enumerate([lambda: None, redis_server.pause, redis_server.kill]):
        fault()
        changes.set_percent(3, 30 + number, Order("test", "spreading"))
        after = spread()
        assert (len(after.reached), after.behind, after.silent) == (len(PROCESSES), [], [])
        assert after.seconds is not None
        assert after.seconds < 2
    processes[-1].kill()
    wait_for(lambda: len(convergence().silent) == 1)
    left = convergence()
    assert left.living == 4
    assert left.silent[0].startswith("worker-")


def test_one_process_tells_what_it_has_seen(phases: Phases) -> None:
    phases(100, 100, 25)
    pulse.start("inbox")
    wait_for(lambda: convergence().living == 1)
    assert convergence().reached[0].startswith("inbox-")
    assert Heartbeat.objects.get().revision == Rollout.current().revision
    pulse.stop()
    assert not Heartbeat.objects.exists()
