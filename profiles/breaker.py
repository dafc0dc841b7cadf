"""A circuit breaker that lets calls run in parallel.

Existing libraries hold a lock during the guarded call. If the server hangs, each thread would then have to wait
for the timeouts of the threads before it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from config.lib import redis_connection

opened = Gauge("breaker_open", "Processes whose circuit breaker is open", ["breaker"], multiprocess_mode="livesum")


class BreakerOpen(Exception):
    """Raised instead of making the call while the breaker is open."""


class Breaker:
    """A breaker that opens after ``failures`` errors in a row, and closes when a later call succeeds.

    While it is open, it lets one caller try every ``reset`` seconds.
    """

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
        """Return the state in this process: ``closed``, ``open`` or ``half-open``."""
        probe_at = self._probe_at
        if probe_at is None:
            return "closed"
        return "open" if time.monotonic() < probe_at else "half-open"

    @contextmanager
    def guard(self, *failures: type[Exception]) -> Iterator[None]:
        """Run the block and count the given exceptions as failures; raise BreakerOpen while the breaker is open."""
        if self._probe_at is not None:
            with self._lock:
                now = time.monotonic()
                if self._probe_at is not None and now < self._probe_at:
                    raise BreakerOpen
                # This caller probes. If it never returns, another caller may probe after ``reset`` seconds.
                self._probe_at = now + self._reset
        try:
            yield
        except failures as error:
            self._count(redis_connection.error_name(error), 1)
            raise
        self.close()

    def open(self, error: str) -> None:
        """Open the breaker at once, after an error that every further call would get."""
        self._count(error, self._limit)

    def _count(self, error: str, failures: int) -> None:
        self.last_error = error
        with self._lock:
            self._failures += failures
            if self._failures >= self._limit:
                self._probe_at = time.monotonic() + self._reset
                self._opened.set(1)

    def close(self) -> None:
        if self._failures:
            with self._lock:
                self._failures, self._probe_at = 0, None
                self._opened.set(0)
