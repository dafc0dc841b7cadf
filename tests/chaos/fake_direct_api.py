"""The messenger's direct API on loopback: it knows some phones by names that no update carries."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.loopback import Answer, Asked, serving

_HANG_SECONDS = 20.0


@dataclass
class DirectApi:
    """``users`` has the answer by phone without the plus; ``fault`` is ``""``, ``fails`` or ``hangs``."""

    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    fault: str = ""
    url: str = ""

    def answer(self, asked: Asked, _authorization: str | None) -> Answer:
        if asked.path != "/internal/users":
            return Answer(404, {})
        if self.fault == "fails":
            return Answer(503, {})
        ends_at = time.monotonic() + _HANG_SECONDS
        while self.fault == "hangs" and time.monotonic() < ends_at:
            time.sleep(0.1)
        phones = [phone.lstrip("+") for phone in (asked.body or {}).get("phone_numbers", [])]
        return Answer(200, {"users": [self.users[phone] for phone in phones if phone in self.users]})

    def settings(self) -> dict[str, Any]:
        return {"MAX_API_URL": self.url, "MAX_BOT_TOKEN": "token-of-chaos"}


@contextmanager
def direct_api() -> Iterator[DirectApi]:
    api = DirectApi()
    with serving(api.answer) as server:
        api.url = server.url
        yield api
