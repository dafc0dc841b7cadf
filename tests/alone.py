"""Pytest plugin: a test marked ``alone``, which judges short times, runs while other workers of ``pytest -n`` wait."""

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

# Each lock needs a file, of any content. A test that waits to be alone holds the first lock, so that no other test
# starts meanwhile.
_QUEUE, _RUNNING = Path(__file__), Path(__file__).with_name("conftest.py")


@contextmanager
def _open(path: Path) -> Iterator[int]:
    """Open a file to be locked, and unlock it explicitly, because a forked child may have it open still."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@contextmanager
def _turn(has_lock: bool) -> Iterator[None]:
    with _open(_QUEUE) as queue, _open(_RUNNING) as running:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(running, fcntl.LOCK_EX if has_lock else fcntl.LOCK_SH)
        if not has_lock:
            fcntl.flock(queue, fcntl.LOCK_UN)
        yield


def _await_turn(has_lock: bool = False) -> AbstractContextManager[None]:
    return _turn(has_lock) if "PYTEST_XDIST_WORKER" in os.environ else nullcontext()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Set up beside other tests: nobody judges how long fixtures take."""
    with _await_turn():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with _await_turn(item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    with _await_turn():
        return (yield)
