"""A circuit breaker that lets calls run side by side.

The libraries at hand hold a lock while the guarded call runs: with a hanging server, every thread would wait for every
other one's timeout in turn.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

opened = Gauge("breaker_open", "Processes whose circuit breaker is open", ["breaker"], multiprocess_mode="livesum")


class BreakerOpen(Exception):
    """The other side is taken to be down; nothing was asked."""


class Breaker:
    """Opens after ``failures`` in a row; every ``reset`` seconds one caller probes, and its success closes it."""

    def __init__(self, name: str, *, failures: int = 5, reset: float = 5.0) -> None:
        self._limit = failures
        self._opened = opened.labels(name)
        self._reset = reset
        self._lock = threading.Lock()
        self._failures = 0
        self._probe_at: float | None = None
        self.last_error: str | None = None

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``, as this process sees it."""
        probe_at = self._probe_at
        if probe_at is None:
            return "closed"
        return "open" if time.monotonic() < probe_at else "half-open"

    @contextmanager
    def guard(self, *failures: type[Exception]) -> Iterator[None]:
        """Run a call; the named exceptions count as failures. Raise BreakerOpen at once while it is open."""
        self._enter()
        try:
            yield
        except failures as error:
            self.last_error = type(error).__name__
            self._failed()
            raise
        self.close()

    def close(self) -> None:
        if self._failures:
            with self._lock:
                self._failures, self._probe_at = 0, None
                self._opened.set(0)

    def _enter(self) -> None:
        if self._probe_at is None:
            return
        with self._lock:
            now = time.monotonic()
            if self._probe_at is not None and now < self._probe_at:
                raise BreakerOpen
            # This caller is the probe. If it never reports back, the next one may try after another while.
            self._probe_at = now + self._reset

    def _failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= self._limit:
                self._probe_at = time.monotonic() + self._reset
                self._opened.set(1)
