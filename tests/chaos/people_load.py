"""Erases people and changes names by hand, each request repeated until it is acknowledged."""

import itertools
import json
import random
import threading
import time
from typing import Any

from tests.chaos.client import PAUSE_SECONDS, Client
from tests.chaos.employee_load import UNKNOWN
from tests.chaos.updates import message, word

# What the names of all people who are erased begin with: Latin letters, which JSON never escapes.
ERASED_PREFIX = "Vanishq"
_LETTERS = str.maketrans("0123456789", "abcdefghij")


class Erasures:
    """Has people write, become employees and be erased; ``done`` has the MAX ID and name of those answered with 204."""

    def __init__(self, client: Client, choice: random.Random, seconds: float) -> None:
        self.client, self.seconds, self._choice = client, seconds, choice
        self.done: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self.is_cancelled = False
        self._numbers = itertools.count(choice.randrange(10**5, 10**6))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        ends_at = time.monotonic() + self.seconds
        while time.monotonic() < ends_at and not self.is_cancelled:
            self._live_and_erase(next(self._numbers))
            time.sleep(self._choice.uniform(0.0, 1.0))

    def _live_and_erase(self, number: int) -> None:
        user_id, name = f"{5 * 10**15 + number}", ERASED_PREFIX + str(number).translate(_LETTERS)
        update = self._update(user_id, name, number)
        repeat: dict[str, Any] = {"is_over": lambda: self.is_cancelled}
        self.client.repeat("POST", "/webhook/max", update, kind="webhook", until=(200,), **repeat)
        time.sleep(self._choice.choice([0.0, 0.0, 0.3, 1.5]))
        self._create(user_id, number, 0)
        # 202: the erasure goes on in the background.
        erased = self.client.repeat("DELETE", f"/profiles/{user_id}", None, until=(204,), expected=(202, 204), **repeat)
        if erased.status != 204:
            return
        self.done.append((user_id, name))
        self.client.repeat("POST", "/webhook/max", update, kind="webhook", until=(200,), **repeat)
        row = self._create(user_id, number, 1)
        if row and row["first_name"] != UNKNOWN:
            self.wrong.append(f"{user_id} was erased, and is created as {row['first_name']} ({row['profile_source']})")

    def _update(self, user_id: str, name: str, number: int) -> bytes:
        user = {"user_id": int(user_id), "first_name": name, "last_name": f"{name}x"}
        update = message("message_created", user, int(time.time() * 1000) - 1000, number, f"/setname {name}")
        return json.dumps(update).encode()

    def _create(self, user_id: str, number: int, place: int) -> dict[str, Any]:
        """Create an employee of the person without a name; return the answer, empty if another attempt created it."""
        request = {"phone": f"+7800{number % 10**6:06}{place}", "max_id": user_id, "university_name": "Хаос"}
        options: dict[str, Any] = {"until": (201, 409), "is_over": lambda: self.is_cancelled}
        answer = self.client.repeat("POST", "/employees", request, **options)
        return dict(json.loads(answer.body)) if answer.status == 201 else {}


class Renames:
    """Gives one person a new name by hand again and again, and reads it: never an older one than acknowledged."""

    # An attempt without an answer may still be carried out: requests end within ten seconds, stopped processes later.
    _IN_FLIGHT_SECONDS = 20.0

    def __init__(self, client: Client, choice: random.Random, seconds: float) -> None:
        self.client, self.seconds = client, seconds
        self.user_id = f"{6 * 10**15 + choice.randrange(10**12)}"
        self.acknowledged = ""
        self.stale: list[str] = []
        self.is_cancelled = False
        self._first = choice.randrange(10**6, 10**7)
        self._unanswered: dict[str, float] = {}
        self._written: list[str] = []
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._write, self._read, self._read)]
        self._lock = threading.Lock()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def possible(self) -> set[str]:
        """Return the names that a read may return that begins now."""
        with self._lock:
            since = time.monotonic() - self._IN_FLIGHT_SECONDS
            return {self.acknowledged, *(name for name, at in self._unanswered.items() if at > since)}

    def _write(self) -> None:
        ends_at = time.monotonic() + self.seconds
        for number in itertools.count(self._first):
            if self.is_cancelled or time.monotonic() > ends_at:
                return
            name = word(number)
            with self._lock:
                self._unanswered[name] = time.monotonic()
                self._written.append(name)
            answer = self.client.request("PUT", f"/profiles/{self.user_id}", {"user_provided_name": name})
            with self._lock:
                if answer.status == 200:
                    self.acknowledged = name
                    del self._unanswered[name]
                else:
                    self._unanswered[name] = time.monotonic()
            time.sleep(0.2)

    def _read(self) -> None:
        while self._threads[0].is_alive() and not self.is_cancelled:
            before, written = self.possible(), len(self._written)
            answer = self.client.request("GET", f"/profiles/{self.user_id}")
            # On a busy machine, a name may be written and replaced by the next while one answer is on its way.
            possible = before | self.possible() | set(self._written[written:])
            if answer.status == 200 and self.acknowledged:
                name = json.loads(answer.body)["user_provided_name"]
                if name not in possible:
                    self.stale.append(f"read {name!r}, acknowledged {self.acknowledged!r}")
            time.sleep(PAUSE_SECONDS)
