"""Creates employees without names at a steady rate, each repeated until it is there, so that every source is asked."""

import json
import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from tests.chaos.client import PAUSE_SECONDS, Client
from tests.chaos.fake_direct_api import DirectApi
from tests.chaos.updates import Updates, word

UNKNOWN = "Неизвестно"
_PER_SECOND = 5
_KINDS = ("by MAX ID", "by phone", "by both", "unknown")


@dataclass(frozen=True)
class Created:
    """An employee that was acknowledged with 201; the times are monotonic."""

    row: dict[str, Any]
    sent_at: float
    answered_at: float


class EmployeeLoad:
    """``acknowledged`` has the phones that were answered with 201, or with 409 after an attempt without an answer."""

    def __init__(
        self, client: Client, updates: Updates, direct_api: DirectApi, choice: random.Random, seconds: float
    ) -> None:
        self.client, self.updates, self.direct_api = client, updates, direct_api
        self.acknowledged: set[str] = set()
        self.created: list[Created] = []
        self.is_cancelled = False
        people = list(updates.names)
        first = choice.randrange(10**8)
        self.requests: list[dict[str, Any]] = []
        for number in range(int(seconds * _PER_SECOND)):
            kind, person = choice.choice(_KINDS), choice.choice(people)
            phone = f"79{first + number:09}"
            self.requests.append({"phone": f"+{phone}", "university_name": "Хаос"})
            if kind in ("by MAX ID", "by both"):
                self.requests[-1]["max_id"] = person
            if kind in ("by phone", "by both"):
                user = {"user_id": int(person), "first_name": "Прямой", "last_name": word(first + number)}
                direct_api.users[phone] = user | {"phone_number": phone}
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def phones(self) -> list[str]:
        return [request["phone"] for request in self.requests]

    def start(self) -> None:
        self._thread.start()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def is_known_to_direct_api(self, phone: str) -> bool:
        return phone.lstrip("+") in self.direct_api.users

    def has_provider(self, phone: str, max_id: str | None, source: str, *names: str) -> bool:
        """Return whether the named source has provided this name for the person."""
        first_name, last_name, middle_name = names
        if source == "default":
            return names == (UNKNOWN, UNKNOWN, "")
        if source == "api":
            user = self.direct_api.users.get(phone.lstrip("+"), {})
            return names == (user.get("first_name"), user.get("last_name"), "")
        if source == "user_input":
            return f"{first_name} {last_name} {middle_name}".strip() in self.updates.carried(
                max_id or "", "user_provided_name"
            )
        is_carried = all(
            value in self.updates.carried(max_id or "", name)
            for name, value in {"first_name": first_name, "last_name": last_name}.items()
        )
        return source == "webhook" and is_carried and bool(first_name or last_name)

    def _run(self) -> None:
        started = time.monotonic()
        for number, request in enumerate(self.requests):
            time.sleep(max(0.0, started + number / _PER_SECOND - time.monotonic()))
            if self.is_cancelled:
                return
            self._create(request)

    def _create(self, request: dict[str, Any]) -> None:
        has_unanswered = False
        while not self.is_cancelled:
            sent_at = time.monotonic()
            expected = (201, 409) if has_unanswered else (201,)
            answer = self.client.request("POST", "/employees", request, expected=expected)
            if answer.status in expected:
                self.acknowledged.add(request["phone"])
                if answer.status == 201:
                    self.created.append(Created(json.loads(answer.body), sent_at, time.monotonic()))
                return
            has_unanswered |= isinstance(answer.status, str) or answer.status == 503
            time.sleep(PAUSE_SECONDS)
