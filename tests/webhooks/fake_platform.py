"""MAX's API on loopback: subscriptions and long polling as MAX does them, no phones, and answers that a test sets."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.loopback import Answer, Asked, serving

TOKEN = "bot-token"


@dataclass
class FakePlatform:
    """``answers`` are given, one a request, before any honest one; ``updates`` are what long polling has.

    ``refuse`` returns why a list of update types is refused, or ``""``.
    """

    subscriptions: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    url: str = ""
    refuse: Callable[[list[str]], str] = lambda sent: ""

    def sends_to(self, *urls: str, update_types: list[str] | None = None) -> None:
        now = int(time.time() * 1000)
        self.subscriptions += [{"url": url, "time": now, "update_types": update_types} for url in urls]

    @property
    def urls(self) -> list[str]:
        return [subscription["url"] for subscription in self.subscriptions]

    @property
    def writes(self) -> list[tuple[str, str]]:
        """The method and the URL of each request that writes."""
        return [(one.method, one.query.get("url") or one.body["url"]) for one in self.asked if one.method != "GET"]

    def answer(self, asked: Asked, authorization: str | None) -> Answer:
        self.asked.append(asked)
        return self.answers.pop(0) if self.answers else self.honest(asked, authorization)

    def honest(self, asked: Asked, authorization: str | None) -> Answer:
        if authorization != TOKEN:
            return Answer(401, {"code": "verify.token", "message": "Invalid access_token"})
        answers = {
            ("GET", "/subscriptions"): self._list,
            ("POST", "/subscriptions"): self._subscribe,
            ("DELETE", "/subscriptions"): self._unsubscribe,
            ("GET", "/updates"): self._poll,
            ("POST", "/internal/users"): self._find_no_users,
        }
        answer = answers.get((asked.method, asked.path))
        return answer(asked) if answer else Answer(404, {"code": "not.found", "message": "Path not found"})

    def _find_no_users(self, asked: Asked) -> Answer:
        return Answer(200, {"users": []})

    def _list(self, asked: Asked) -> Answer:
        return Answer(200, {"subscriptions": self.subscriptions})

    def _subscribe(self, asked: Asked) -> Answer:
        types = asked.body.get("update_types")
        if refusal := self.refuse(types or []):
            return Answer(400, {"code": "proto.payload", "message": refusal})
        self.sends_to(asked.body["url"], update_types=types)
        self.secrets[asked.body["url"]] = asked.body["secret"]
        return Answer(200, {"success": True})

    def _unsubscribe(self, asked: Asked) -> Answer:
        if asked.query["url"] not in self.urls:
            return Answer(200, {"success": False, "message": "No such subscription", "code": "not.found"})
        self.subscriptions = [one for one in self.subscriptions if one["url"] != asked.query["url"]]
        return Answer(200, {"success": True})

    def _poll(self, asked: Asked) -> Answer:
        # Without a marker MAX gives the newest update alone.
        start = int(asked.query.get("marker", max(len(self.updates) - 1, 0)))
        ends_at = time.monotonic() + float(asked.query["timeout"])
        while len(self.updates) <= start and time.monotonic() < ends_at:
            time.sleep(0.01)
        part = self.updates[start : start + int(asked.query["limit"])]
        return Answer(200, {"updates": part, "marker": start + len(part)})


@contextmanager
def fake_platform(certificate: tuple[str, str] | None = None) -> Iterator[FakePlatform]:
    """Serve over TLS when the paths of a certificate and its key are given."""
    fake = FakePlatform()
    with serving(fake.answer, certificate=certificate) as server:
        fake.url = server.url
        yield fake
