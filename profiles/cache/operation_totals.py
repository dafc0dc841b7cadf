"""The total numbers of operations on the profile cache by all processes and hosts, in a hash in Redis."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from prometheus_client import Counter as Metric

OPERATIONS = "profiles:operations"
_PUBLISH_SECONDS = 5.0


class OperationTotals:
    """The totals, to which this process adds its counts; ``metric`` is a counter with labels operation and status."""

    def __init__(self, metric: Metric) -> None:
        self._metric, self._lock = metric, threading.Lock()
        self._published, self._due_at = Counter[str](), 0.0
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Treat all counts so far as published, because a forked child inherits the counts of its parent."""
        self._lock, self._published = threading.Lock(), self._counts()

    def _counts(self) -> Counter[str]:
        samples = (sample for metric in self._metric.collect() for sample in metric.samples)
        return Counter(
            {f"{sample.labels['operation']}:{sample.labels['status']}": int(sample.value) for sample in samples}
        )

    def publish(self, client: redis.Redis, *, is_due: bool = False) -> None:
        """Add the new counts to the totals. Do so at most every five seconds, unless ``is_due``.

        If Redis fails, a later call adds them.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._due_at and not is_due:
                return
            self._due_at = now + _PUBLISH_SECONDS
            counts = self._counts()
            pipeline = client.pipeline(transaction=False)
            for name, count in (counts - self._published).items():
                pipeline.hincrby(OPERATIONS, name, count)
            with suppress(redis.RedisError):
                pipeline.execute()
                self._published = counts

    def read(self, client: redis.Redis) -> Counter[tuple[str, ...]]:
        """Return the totals by operation and status since the time when Redis last lost its content."""
        self.publish(client, is_due=True)
        try:
            totals: dict[bytes, bytes] = client.hgetall(OPERATIONS)  # type: ignore[assignment]
            return Counter({tuple(name.decode().split(":")): int(count) for name, count in totals.items()})
        except (redis.ResponseError, ValueError):
            # Another program has written something else under this key.
            client.unlink(OPERATIONS)
            return Counter()
