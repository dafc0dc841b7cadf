"""Waits of tests: that a busy machine stands still for ten seconds must not change what a test finds."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest

from config.postgres import base
from config.postgres.base import DeadlineConnection, seconds_left

# Longer than any such stall, and shorter than the time limit of a test.
PATIENCE = 60.0


def seconds_until(is_true: Callable[[], object], limit: float = PATIENCE) -> float:
    """Wait until the condition is true; return after how many seconds it was, or fail after ``limit``."""
    started = time.monotonic()
    while not is_true():
        assert time.monotonic() - started < limit
        time.sleep(0.05)
    return time.monotonic() - started


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer; without the rule that it tests, it has to take longer still."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


class WorkingClock:
    """A monotonic clock in seconds that stands still while this process gets no processor, as when the machine stalls.

    It measures what others take. Use it as a context manager.
    """

    _PERIOD = 0.05

    def __enter__(self) -> Self:
        # When the thread is to wake up next, and for how long in all it woke up too late.
        self._state = (time.monotonic() + self._PERIOD, 0.0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._add_delays)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def now(self) -> float:
        due_at, stalled = self._state
        return min(time.monotonic(), due_at) - stalled

    def _add_delays(self) -> None:
        while not self._ended.wait(self._PERIOD):
            (due_at, stalled), now = self._state, time.monotonic()
            self._state = (now + self._PERIOD, stalled + max(now - due_at, 0.0))


def pass_deadline(seconds: float = 0.0) -> None:
    """Let the deadline of the current ``statement_deadline`` block pass in so many seconds; fail if there is none.

    A short deadline may pass on a busy machine before the test reaches the place that it is about.
    """
    assert seconds_left() is not None
    base._deadline.set(time.monotonic() + seconds)


def await_cancellations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give PostgreSQL a minute to cancel a statement at its deadline, and leave the deadlines as they are.

    A longer _CANCEL_SECONDS would make each of them as long.
    """
    cancel = DeadlineConnection.cancel_safe

    def cancel_safe(conn: DeadlineConnection, **_: float) -> None:
        cancel(conn, timeout=PATIENCE)
        # For the answer to the statement.
        monkeypatch.setattr(base, "_CANCEL_SECONDS", PATIENCE)

    def wait(conn: DeadlineConnection, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(base, "_CANCEL_SECONDS", usual)
        return wait_until_deadline(conn, *arguments, **options)

    usual, wait_until_deadline = base._CANCEL_SECONDS, DeadlineConnection.wait
    monkeypatch.setattr(DeadlineConnection, "cancel_safe", cancel_safe)
    monkeypatch.setattr(DeadlineConnection, "wait", wait)
