"""PostgreSQL that is stopped takes connections and never answers: worse than one that is gone."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from signal import SIGCONT, SIGSTOP

import pytest

from tests.chaos.sending import Result, post
from tests.chaos.story import tell
from tests.chaos.system import System

_DEADLINE = 3.0
_RECOVERY = 5.0

pytestmark = pytest.mark.xdist_group("slow")


@pytest.fixture
def stopped(system: System) -> Iterator[System]:
    system.send("postgres", SIGSTOP)
    yield system
    system.send("postgres", SIGCONT)


def volley(system: System, size: int) -> list[Result]:
    """Send so many updates at once, each on a connection of its own."""
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(partial(post, system), tell(random.Random(), size).bodies))


@pytest.mark.alone
@pytest.mark.parametrize("size", [1, 64])
def test_it_is_503_in_time_and_works_again_afterwards(stopped: System, size: int) -> None:
    """64 are more than the web server has threads: those that wait for a thread are not to wait twice."""
    outcomes = volley(stopped, size)
    assert {outcome.answer for outcome in outcomes} == {503}
    assert max(outcome.seconds for outcome in outcomes) < _DEADLINE
    stopped.send("postgres", SIGCONT)
    deadline = time.monotonic() + _RECOVERY
    while {outcome.answer for outcome in volley(stopped, size)} != {200}:
        assert time.monotonic() < deadline
