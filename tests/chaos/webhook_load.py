"""Sends updates as MAX does: each is repeated until it is answered with 200."""

import itertools
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException

from tests.chaos.responses import Answer, Answers
from tests.chaos.system import System

PATH = "/webhook/max"
# MAX waits as long.
_TIMEOUT = 30.0
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Result:
    """``answer`` is the status, or the name of the error where there was no answer."""

    answer: int | str
    seconds: float
    has_retry_after: bool = False


class Sender:
    """One connection, kept alive."""

    def __init__(self, system: System) -> None:
        self._connection = HTTPConnection("127.0.0.1", system.port, timeout=_TIMEOUT)
        self._headers = {"Content-Type": "application/json", "X-Max-Bot-Api-Secret": system.secret}

    def post(self, body: bytes) -> Result:
        started = time.monotonic()
        answer: int | str
        has_retry_after = False
        try:
            self._connection.request("POST", PATH, body, self._headers)
            response = self._connection.getresponse()
            response.read()
            answer, has_retry_after = response.status, "Retry-After" in response.headers
        except (OSError, HTTPException) as error:
            self._connection.close()
            answer = type(error).__name__
        return Result(answer, time.monotonic() - started, has_retry_after)

    def close(self) -> None:
        self._connection.close()


def post(system: System, body: bytes) -> Result:
    """Send one update on a connection of its own."""
    with closing(Sender(system)) as sender:
        return sender.post(body)


class WebhookLoad:
    """Sends deliveries at a steady rate over several connections, each repeated until it is acknowledged."""

    def __init__(
        self, system: System, answers: Answers, deliveries: Sequence[bytes], *, connections: int, seconds: float
    ) -> None:
        self.system, self.answers = system, answers
        self.deliveries = deliveries
        self.rate = len(deliveries) / seconds
        self.acknowledged = 0
        self.first_acknowledged_at: dict[bytes, datetime] = {}
        self.started_at = time.monotonic()
        self.is_cancelled = False
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]

    def start(self) -> None:
        self.started_at = time.monotonic()
        for thread in self._threads:
            thread.start()

    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        with closing(Sender(self.system)) as sender:
            while (number := next(self._numbers)) < len(self.deliveries) and not self.is_cancelled:
                due = self.started_at + number / self.rate
                time.sleep(max(0.0, due - time.monotonic()))
                self._deliver(sender, self.deliveries[number])

    def _deliver(self, sender: Sender, body: bytes) -> None:
        while not self.is_cancelled:
            result = sender.post(body)
            answer = Answer(result.answer, b"", result.has_retry_after, result.seconds)
            self.answers.note("webhook", f"POST {PATH}", answer, (200,))
            with self._lock:
                if result.answer == 200:
                    self.acknowledged += 1
                    self.first_acknowledged_at.setdefault(body, datetime.now(UTC))
                    return
            time.sleep(_PAUSE_SECONDS)
