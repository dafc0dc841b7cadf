"""SIGTERM to the web server, as a deploy or a reboot sends it: what was taken in is answered, and kept."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import psycopg
import pytest

from tests.chaos.sending import Result, Sender, post
from tests.chaos.story import tell
from tests.chaos.system import System, is_alive

_EXIT_SECONDS = 15
_CONNECTIONS = 16
_WORKERS = 2
# What does not end by itself is killed, see config.programs.
_KILLED_AFTER_SECONDS = 8

pytestmark = pytest.mark.xdist_group("slow")


def terminate_web(system: System) -> float:
    """Return the seconds that it took to end."""
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
    """Return once a web process waits to store what came; the others, of the second process too, had time to queue.

    Either may have taken all the connections: one that was just started again is slower to accept.
    """
    deadline = time.monotonic() + 2
    while database.execute(_STORING).fetchone() == (0,):
        assert time.monotonic() < deadline
        time.sleep(0.02)
        database.execute("SELECT pg_stat_clear_snapshot()")
    time.sleep(0.2)


@pytest.mark.alone
def test_requests_under_way_are_answered(system: System) -> None:
    """They wait for a lock when the signal comes, and for half a second after it."""
    bodies = tell(random.Random(), _CONNECTIONS).bodies
    with ThreadPoolExecutor(_CONNECTIONS + 1) as pool:
        with system.database() as database, database.transaction():
            database.execute("LOCK webhook_inbox IN ACCESS EXCLUSIVE MODE")
            outcomes = [pool.submit(post, system, body) for body in bodies]
            wait_for_the_lock(database)
            exit_seconds = pool.submit(terminate_web, system)
            time.sleep(0.5)
        assert [outcome.result().answer for outcome in outcomes] == [200] * len(bodies)
        assert 0.5 <= exit_seconds.result() < _EXIT_SECONDS
    assert set(bodies) <= stored_bodies(system)


@dataclass(frozen=True)
class Load:
    """What became of the requests of sixteen senders while the web server ended."""

    acknowledged: set[bytes]
    broken_off: set[bytes]
    exit_seconds: float


def terminate_under_load(system: System, *, after: float) -> Load:
    outcomes: dict[bytes, Result] = {}
    bodies = iter(tell(random.Random(), 50_000).bodies)
    taking, has_ended = threading.Lock(), threading.Event()

    def send() -> None:
        with closing(Sender(system)) as sender:
            while not has_ended.is_set():
                with taking:
                    body = next(bodies)
                outcomes[body] = sender.post(body)
                if outcomes[body].answer != 200:
                    time.sleep(0.05)

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for _ in range(_CONNECTIONS):
            pool.submit(send)
        time.sleep(after)
        exit_seconds = terminate_web(system)
        has_ended.set()
    acknowledged = {body for body, outcome in outcomes.items() if outcome.answer == 200}
    broken_off = {body for body, outcome in outcomes.items() if isinstance(outcome.answer, str)}
    assert acknowledged | broken_off == outcomes.keys()
    return Load(acknowledged, broken_off, exit_seconds)


@pytest.mark.parametrize("time_", range(int(os.environ.get("SIGTERM_TIMES", "1"))))
def test_load_loses_nothing_that_was_taken_in(system: System, time_: int) -> None:
    """What was broken off was never taken in: a connection that was idle may be closed under a request.

    ``make test-sigterm`` does it twenty times.
    """
    load = terminate_under_load(system, after=1.5)
    stored = stored_bodies(system)
    assert len(load.acknowledged) > 100
    assert load.acknowledged - stored == set()
    assert load.broken_off & stored == set()
    print(  # noqa: T201 (what `make test-sigterm` is run for)
        f"\nSIGTERM {time_ + 1}: ended in {load.exit_seconds:.1f} s; {len(load.acknowledged)} acknowledged,"
        f" {len(load.acknowledged - stored)} of them lost; {len(load.broken_off & stored)} taken in and reset"
    )


def test_a_worker_that_starts_ends_with_the_others(system: System) -> None:
    """It does not begin to serve after the signal, to be killed among its requests."""
    worker = system.pids("web")[1]
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while worker in (workers := system.pids("web")[1:]) or len(workers) < _WORKERS:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    load = terminate_under_load(system, after=0.1)
    assert load.exit_seconds < _KILLED_AFTER_SECONDS
    assert load.broken_off & stored_bodies(system) == set()
