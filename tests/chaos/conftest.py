import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.chaos.fake_direct_api import DirectApi, direct_api
from tests.chaos.system import System
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import post

_CONNECTIONS = 16


@pytest.fixture(scope="session")
def messenger() -> Iterator[DirectApi]:
    with direct_api() as api:
        yield api


@pytest.fixture(scope="session")
def started(messenger: DirectApi) -> Iterator[System]:
    # Development mode starts three seconds faster, and still checks the secret.
    options: dict[str, Any] = {"DEBUG": "true", "TRUSTED_PROXIES": "1", "MONITORING_CHECK_INTERVAL": "2s"}
    system = System(sets_clocks=True, **options, **messenger.settings())
    try:
        system.start()
        yield system
    finally:
        left = system.stop()
    assert left == []
    assert not system.folder.exists()


@pytest.fixture(scope="module")
def worked() -> Iterator[System]:
    """Return a system of one web process that checks its alerts every two seconds, for the tests of one module."""
    system = System(sets_clocks=True, DEBUG="true", MONITORING_CHECK_INTERVAL="2s", WEB_WORKERS="1")
    try:
        system.start()
        yield system
    finally:
        assert system.stop() == []


@pytest.fixture
def system(started: System) -> System:
    """Return the running system, after it has recovered from the previous test."""
    deadline = time.monotonic() + 30
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        while {result.answer for result in pool.map(partial(post, started), random_bodies(_CONNECTIONS))} != {200}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    return started
