"""A PostgreSQL that is stopped (SIGSTOP) accepts connections and never answers, which is worse than none."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from signal import SIGCONT, SIGSTOP

import pytest

from tests.chaos.system import System
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import Result, post

_DEADLINE = 3.0
_RECOVERY = 5.0

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]


@pytest.fixture
def stopped(system: System) -> Iterator[System]:
    system.send("postgres", SIGSTOP)
    yield system
    system.send("postgres", SIGCONT)


def send_at_once(system: System, count: int) -> list[Result]:
    """Send the updates in parallel, each over its own connection."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(partial(post, system), random_bodies(count)))


@pytest.mark.alone
@pytest.mark.parametrize("count", [1, 64])
def test_it_answers_503_in_time_and_recovers(stopped: System, count: int) -> None:
    """64 requests are more than the web server has threads: waiting for a thread must not double the delay."""
    results = send_at_once(stopped, count)
    assert {result.answer for result in results} == {503}
    assert max(result.seconds for result in results) < _DEADLINE
    stopped.send("postgres", SIGCONT)
    deadline = time.monotonic() + _RECOVERY
    while {result.answer for result in send_at_once(stopped, count)} != {200}:
        assert time.monotonic() < deadline
