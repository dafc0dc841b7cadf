"""Lets a test that judges short times have the machine to itself while the other workers of ``pytest -n`` wait."""

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Locks need a file each; its content does not matter. Who waits to be alone holds the first, and tests that would
# begin meanwhile queue up behind.
_QUEUE, _RUNNING = Path(__file__), Path(__file__).with_name("conftest.py")


@contextmanager
def _open(path: Path) -> Iterator[int]:
    """Open a file to be locked; closing it, or the end of the process, unlocks it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _turn(is_alone: bool) -> Iterator[None]:
    with _open(_QUEUE) as queue, _open(_RUNNING) as running:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(running, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        if not is_alone:
            fcntl.flock(queue, fcntl.LOCK_UN)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with _turn(item.get_closest_marker("alone") is not None):
        return (yield)
