"""Creates employees over the API at a steady rate, each repeated until it is there."""

import json
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException

from tests.chaos.system import System

_PER_SECOND = 10
_TIMEOUT = 30.0
_PAUSE_SECONDS = 0.1


class EmployeeLoad:
    """``created`` has the phones that were acknowledged: by 201, or by 409 after an attempt without an answer."""

    def __init__(self, system: System, *, first_phone: int, seconds: float) -> None:
        self.system = system
        self.phones = [
            f"+7{9 * 10**9 + (first_phone + number) % 10**9}" for number in range(int(seconds * _PER_SECOND))
        ]
        self.created: set[str] = set()
        self.answers: Counter[int | str] = Counter()
        self.unexpected_answers: Counter[int | str] = Counter()
        self.is_cancelled = False
        self._token = ""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        started = time.monotonic()
        for number, phone in enumerate(self.phones):
            time.sleep(max(0.0, started + number / _PER_SECOND - time.monotonic()))
            self._create(phone)

    def _create(self, phone: str) -> None:
        employee = {"phone": phone, "first_name": "Анна", "last_name": "Иванова", "university_name": "Хаос"}
        has_unanswered = False
        while not self.is_cancelled:
            status = self._attempt(employee)
            self.answers[status] += 1
            if status == 201 or (status == 409 and has_unanswered):
                self.created.add(phone)
                return
            if isinstance(status, str) or status == 503:
                has_unanswered = True
            elif status == 401:
                self._token = ""
            else:
                self.unexpected_answers[status] += 1
            time.sleep(_PAUSE_SECONDS)

    def _attempt(self, employee: dict[str, str]) -> int | str:
        if not self._token:
            login = {"username": "admin", "password": self.system.environment["DJANGO_SUPERUSER_PASSWORD"]}
            status, answer = self._post("/api/token", login)
            if status != 200:
                return status
            self._token = json.loads(answer)["access"]
        return self._post("/employees", employee)[0]

    def _post(self, path: str, body: dict[str, str]) -> tuple[int | str, bytes]:
        connection = HTTPConnection("127.0.0.1", self.system.port, timeout=_TIMEOUT)
        headers = {"Content-Type": "application/json"}
        if self._token and path != "/api/token":
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException) as error:
            return type(error).__name__, b""
        finally:
            connection.close()
