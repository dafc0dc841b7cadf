"""SIGTERM to the web server, as a deploy or a reboot sends it: requests under way are answered and stored."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import psycopg
import pytest

from tests.chaos.system import System, is_alive
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import Result, Sender, post

_EXIT_SECONDS = 15
_CONNECTIONS = 16
_WORKERS = 2
# Then config.programs kills the process.
_KILLED_AFTER_SECONDS = 8

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]


def terminate_web(system: System) -> float:
    """Send SIGTERM to the web server; return the seconds until all its processes have ended."""
    processes = system.pids("web")
    started = time.monotonic()
    os.kill(processes[0], signal.SIGTERM)
    while any(map(is_alive, processes)):
        assert time.monotonic() - started < _EXIT_SECONDS
        time.sleep(0.01)
    return time.monotonic() - started


def stored_bodies(system: System) -> set[bytes]:
    with system.database() as database:
        return {body for (body,) in database.cursor(binary=True).execute("SELECT body FROM webhook_inbox")}


_STORING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO webhook_inbox%'"


def wait_for_the_lock(database: psycopg.Connection) -> None:
    """Return when a web process waits for the lock, and all other requests have had time to arrive.

    One process may have all the connections: one that has just been restarted accepts later.
    """
    deadline = time.monotonic() + 2
    while database.execute(_STORING).fetchone() == (0,):
        assert time.monotonic() < deadline
        time.sleep(0.02)
        database.execute("SELECT pg_stat_clear_snapshot()")
    time.sleep(0.2)


@pytest.mark.alone
def test_it_answers_requests_under_way(system: System) -> None:
    """The requests wait for a lock when the signal comes, and for half a second after it."""
    bodies = random_bodies(_CONNECTIONS)
    with ThreadPoolExecutor(_CONNECTIONS + 1) as pool:
        with system.database() as database, database.transaction():
            database.execute("LOCK webhook_inbox IN ACCESS EXCLUSIVE MODE")
            answers = [pool.submit(post, system, body) for body in bodies]
            wait_for_the_lock(database)
            exit_seconds = pool.submit(terminate_web, system)
            time.sleep(0.5)
        assert [answer.result().answer for answer in answers] == [200] * len(bodies)
        assert 0.5 <= exit_seconds.result() < _EXIT_SECONDS
    assert set(bodies) <= stored_bodies(system)


@dataclass(frozen=True)
class Shutdown:
    """The requests of sixteen senders while the web server ended, and how long that took."""

    acknowledged: set[bytes]
    unanswered: set[bytes]
    exit_seconds: float


def terminate_under_load(system: System, *, after: float) -> Shutdown:
    results: dict[bytes, Result] = {}
    bodies = iter(random_bodies(50_000))
    lock, has_ended = threading.Lock(), threading.Event()

    def send() -> None:
        with closing(Sender(system)) as sender:
            while not has_ended.is_set():
                with lock:
                    body = next(bodies)
                results[body] = sender.post(body)
                if results[body].answer != 200:
                    time.sleep(0.05)

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for _ in range(_CONNECTIONS):
            pool.submit(send)
        time.sleep(after)
        exit_seconds = terminate_web(system)
        has_ended.set()
    acknowledged = {body for body, result in results.items() if result.answer == 200}
    unanswered = {body for body, result in results.items() if isinstance(result.answer, str)}
    assert acknowledged | unanswered == results.keys()
    return Shutdown(acknowledged, unanswered, exit_seconds)


@pytest.mark.parametrize("run", range(int(os.environ.get("SIGTERM_TIMES", "1"))))
def test_it_loses_no_acknowledged_update(system: System, run: int) -> None:
    """A request without an answer was not stored: the server may close an idle connection just as one is sent.

    ``make test-sigterm`` does it sixty times.
    """
    shutdown = terminate_under_load(system, after=1.5)
    stored = stored_bodies(system)
    lost, half_done = shutdown.acknowledged - stored, shutdown.unanswered & stored
    assert len(shutdown.acknowledged) > 100
    assert (lost, half_done) == (set(), set())
    print(  # noqa: T201 (what `make test-sigterm` is run for)
        f"\nSIGTERM {run + 1}: ended in {shutdown.exit_seconds:.1f} s;"
        f" {len(shutdown.acknowledged)} acknowledged, none lost; {len(shutdown.unanswered)} unanswered, none stored"
    )


def test_it_ends_a_worker_that_is_starting(system: System) -> None:
    """The worker must not begin to serve after the signal: it would be killed with requests under way."""
    worker = system.pids("web")[1]
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while worker in (workers := system.pids("web")[1:]) or len(workers) < _WORKERS:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    shutdown = terminate_under_load(system, after=0.1)
    assert shutdown.exit_seconds < _KILLED_AFTER_SECONDS
    assert shutdown.unanswered & stored_bodies(system) == set()
