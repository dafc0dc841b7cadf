import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random

import pytest

from tests.chaos.sending import post
from tests.chaos.story import tell
from tests.chaos.system import System

_CONNECTIONS = 16


@pytest.fixture(scope="session")
def started() -> Iterator[System]:
    # Development mode starts three seconds sooner; the secret is asked for all the same.
    system = System(DEBUG="true")
    try:
        system.start()
        yield system
    finally:
        left = system.stop()
    assert left == []
    assert not system.folder.exists()


@pytest.fixture
def system(started: System) -> System:
    """A whole system of this package's own; what the test before has killed was started again, and all of it serves."""
    deadline = time.monotonic() + 30
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        while {outcome.answer for outcome in pool.map(partial(post, started), _updates())} != {200}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    return started


def _updates() -> list[bytes]:
    return tell(Random(), _CONNECTIONS).bodies
