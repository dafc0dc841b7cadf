"""The messenger's direct API on loopback: what it answers is set by the test."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.loopback import Answer, Asked, serving


@dataclass
class FakeMax:
    users: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    # Those of the first requests, before ``status``.
    first_statuses: list[int] = field(default_factory=list)
    delay: float = 0.0
    drip: float = 0.0
    requests: list[tuple[str, str | None, Any]] = field(default_factory=list)
    url: str = ""

    def knows(self, phone: str, user_id: int, first_name: str = "Олег", last_name: str = "Сидоров") -> None:
        self.users.append(
            {"user_id": user_id, "first_name": first_name, "last_name": last_name, "phone_number": phone.lstrip("+")}
        )

    def wait(self) -> None:
        """Wait before an answer; a test may replace it."""
        time.sleep(self.delay)

    def answer(self, asked: Asked, authorization: str | None) -> Answer:
        self.requests.append((asked.path, authorization, asked.body))
        self.wait()
        body = {"users": self.users} if self.body is None else self.body
        status = self.first_statuses.pop(0) if self.first_statuses else self.status
        return Answer(status, body, self.headers, self.drip)


@contextmanager
def fake_max() -> Iterator[FakeMax]:
    fake = FakeMax()
    with serving(fake.answer) as server:
        fake.url = server.url
        yield fake
