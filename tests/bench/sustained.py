"""Measures at a steady rate how long the receiver takes, and how long until Redis has the profile."""

import itertools
import json
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import redis

_CONNECTIONS = 8
_LAST_ARRIVALS = 10.0
# Of PostgreSQL's log.
_SEGMENT, _PAGE = 16 * 1024**2, 8 * 1024
# Each run has people of its own, with MAX IDs that no other load uses: ten digits, counted in millions.
_FIRST_DIGIT = 7
_millions = itertools.count(_FIRST_DIGIT * 1000)


@dataclass
class Sustained:
    statuses: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    acknowledged_at: dict[str, float] = field(default_factory=dict)
    visible_at: dict[str, float] = field(default_factory=dict)

    def until_visible(self) -> list[float]:
        """Return the seconds from each 200 to Redis: 0 if Redis was first, infinity if the profile never arrived."""
        return [
            max(0.0, self.visible_at.get(user_id, float("inf")) - at) for user_id, at in self.acknowledged_at.items()
        ]


class Watcher:
    """Records when the key of each person of send_steadily() is first written, by Redis's keyspace notifications."""

    def __init__(self, cache: redis.Redis, seen: dict[str, float]) -> None:
        cache.config_set("notify-keyspace-events", "K$")
        self._cache = cache
        self._seen = seen
        self._pubsub = cache.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.psubscribe(f"__keyspace@*__:profile:user:{_FIRST_DIGIT}?????????")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._is_over = False
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over:
            message: dict[str, Any] | None = self._pubsub.get_message(timeout=0.1)
            if message:
                self._seen.setdefault(message["channel"].decode().rpartition(":")[2], time.monotonic())

    def close(self) -> None:
        self._is_over = True
        self._thread.join()
        self._pubsub.close()
        self._cache.config_set("notify-keyspace-events", "")


def send_and_watch(port: int, secret: str, cache: redis.Redis, *, rate: int, seconds: float) -> Sustained:
    """Send updates as send_steadily() does, and record when each person's profile arrives in Redis."""
    result = Sustained()
    with closing(Watcher(cache, result.visible_at)):
        send_steadily(port, secret, result, rate=rate, seconds=seconds)
        deadline = time.monotonic() + _LAST_ARRIVALS
        while len(result.visible_at) < len(result.statuses) and time.monotonic() < deadline:
            time.sleep(0.05)
    return result


def send_steadily(port: int, secret: str, result: Sustained, *, rate: int, seconds: float) -> None:
    """Send updates of distinct people, each at a fixed time, however long the earlier ones take."""
    started = time.monotonic() + 0.2
    numbers = range(int(rate * seconds))
    first_id = next(_millions) * 1_000_000

    def send(first: int) -> None:
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            for number in numbers[first::_CONNECTIONS]:
                due = started + number / rate
                time.sleep(max(0.0, due - time.monotonic()))
                _send_one(connection, secret, f"{first_id + number}", due, result)

    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        # An error of a connection must end the benchmark, or its requests would be missing in the figures.
        list(threads.map(send, range(_CONNECTIONS)))


def _send_one(connection: HTTPConnection, secret: str, user_id: str, due: float, result: Sustained) -> None:
    message = {
        "sender": {"user_id": int(user_id), "first_name": "Иван", "last_name": "Петров"},
        "recipient": {"chat_id": 1, "chat_type": "dialog"},
        "body": {"mid": f"steady.{user_id}", "text": "x" * 400},
    }
    update = {"update_type": "message_created", "timestamp": int(time.time() * 1000), "message": message}
    body = json.dumps(update).encode()
    headers = {"Content-Type": "application/json", "X-Max-Bot-Api-Secret": secret}
    connection.request("POST", "/webhook/max", body, headers)
    answer = connection.getresponse()
    answer.read()
    now = time.monotonic()
    # From the time it was due, so that a stall counts for every request that it delays.
    result.latencies.append(now - due)
    result.statuses.append(answer.status)
    if answer.status == 200:
        result.acknowledged_at[user_id] = now


def sync_steadily(folder: Path, *, rate: int, seconds: float) -> list[float]:
    """Write and sync a page of a file at a steady rate; return the seconds that each took, from its fixed time.

    No answer that waits for a commit can be faster than the disk.
    """
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_SEGMENT))
        os.fsync(file.fileno())
        started = time.monotonic() + 0.2
        for number in range(int(rate * seconds)):
            at = started + number / rate
            time.sleep(max(0.0, at - time.monotonic()))
            os.pwrite(file.fileno(), os.urandom(_PAGE), number * _PAGE % _SEGMENT)
            os.fdatasync(file.fileno())
            took.append(time.monotonic() - at)
    return took
