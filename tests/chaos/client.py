"""The API as the superuser uses it: each request over its own connection, so that every process is asked."""

import json
import threading
import time
from collections.abc import Callable, Collection
from http.client import HTTPConnection, HTTPException
from typing import Any

from tests.chaos.responses import Answer, Answers
from tests.chaos.system import System

_TIMEOUT = 30.0
# An access token is valid for 15 minutes.
_RENEW_SECONDS = 600.0
PAUSE_SECONDS = 0.1


class Client:
    def __init__(self, system: System, answers: Answers) -> None:
        self.system, self.answers = system, answers
        self._token, self._lock = "", threading.Lock()
        self._renew_at = 0.0

    def request(
        self, method: str, path: str, body: Any = None, *, kind: str = "api", expected: Collection[int] = (200,)
    ) -> Answer:
        """Send one request, and log in before it if the last token was refused or is old."""
        if kind == "api":
            self._log_in()
        token = self._token
        headers = {"Authorization": f"Bearer {token}"} if kind == "api" else {}
        if kind == "webhook":
            headers = {"X-Max-Bot-Api-Secret": self.system.secret}
        answer = self._send(method, path, body, headers)
        if answer.status == 401 and token == self._token:
            self._token = ""
        self.answers.note(kind, f"{method} {path}", answer, expected)
        return answer

    def repeat(
        self, method: str, path: str, body: Any, *, until: Collection[int], is_over: Callable[[], bool], **options: Any
    ) -> Answer:
        """Repeat a request until it is answered with one of the statuses, or until everything is over."""
        while True:
            answer = self.request(method, path, body, **{"expected": until, **options})
            if answer.status in until or is_over():
                return answer
            time.sleep(PAUSE_SECONDS)

    def _log_in(self) -> None:
        with self._lock:
            if self._token and time.monotonic() < self._renew_at:
                return
            login = {"username": "admin", "password": self.system.environment["DJANGO_SUPERUSER_PASSWORD"]}
            answer = self._send("POST", "/api/token", login, {})
            self.answers.note("api", "POST /api/token", answer, (200,))
            if answer.status == 200:
                self._token = json.loads(answer.body)["access"]
                self._renew_at = time.monotonic() + _RENEW_SECONDS

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        started = time.monotonic()
        connection = HTTPConnection("127.0.0.1", self.system.port, timeout=_TIMEOUT)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body)
        try:
            connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            text = response.read()
            return Answer(response.status, text, "Retry-After" in response.headers, time.monotonic() - started)
        except (OSError, HTTPException) as error:
            return Answer(type(error).__name__, b"", False, time.monotonic() - started)
        finally:
            connection.close()
