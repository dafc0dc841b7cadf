"""Simulates the people of the walkthrough: they write to the bot, and the directory hires them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from employees.models import Employee, University
from profiles.comparison import compare_waiting
from tests.conftest import client_of
from tests.profiles.fake_max import FakeMax
from tests.webhooks.sending import send
from webhooks.processing import process_inbox

FIRST = ("Анна", "Борис", "Вера", "Глеб", "Дарья", "Егор", "Жанна", "Захар", "Ирина", "Пётр")
LAST = ("Алёхин", "Белова", "Власов", "Громова", "Дёмин", "Ершова", "Жуков", "Зайцева", "Ильин", "Котова", "Лунин")
SECRET = "a-secret-of-the-walkthrough"


class People:
    """Person ``n`` has the MAX id 100,000 + n; ``hired`` counts employees so far, ``sent`` updates."""

    def __init__(self, direct: FakeMax, user: User) -> None:
        self.direct, self.user = direct, user
        self.hired = self.sent = 0
        self.universities = [University.objects.create(name=f"University {number}") for number in range(1, 5)]

    def name(self, number: int) -> tuple[str, str]:
        return FIRST[number % len(FIRST)], LAST[number % len(LAST)]

    def write(self, people: range, times: int = 1) -> None:
        """Send one update for each of the people, so many times."""
        numbers = [number for _ in range(times) for number in people]
        for start in range(0, len(numbers), 100):
            envelope = [self._update(number) for number in numbers[start : start + 100]]
            assert send({"updates": envelope}, x_max_bot_api_secret=SECRET).status == 200

    def _update(self, number: int) -> dict[str, object]:
        self.sent += 1
        first, last = self.name(number)
        message = {
            "sender": {"user_id": 100_000 + number, "first_name": first, "last_name": last, "is_bot": False},
            "recipient": {"chat_type": "dialog"},
            "body": {"mid": f"m{self.sent}", "text": "."},
        }
        timestamp = int(timezone.now().timestamp() * 1000)
        return {"update_type": "message_created", "timestamp": timestamp, "message": message}

    def hire(self, count: int, *, married: int = 0) -> None:
        """Create the next employees; the first ``married`` of them have another last name in the direct API."""
        api = client_of(self.user)
        for number in range(self.hired, self.hired + count):
            first, last = self.name(number)
            phone, max_id = f"+7916{number:07d}", 100_000 + number
            is_married = number - self.hired < married
            self.direct.users = []
            self.direct.knows(phone, max_id, first, "Новикова" if is_married else last)
            university = self.universities[3 if number % 8 == 0 else number % 3]
            body = {"phone": phone, "max_id": str(max_id), "university_id": university.pk}
            assert api.post("/employees", body, format="json").status_code == 201
            if number % 50 == 49:
                self._compare()
        self.hired += count
        self._compare()

    def _compare(self) -> None:
        """Compare the waiting lookups, as the worker does every few seconds; the direct API knows all of them."""
        newest = Employee.objects.order_by("-pk")[:60]
        saved, self.direct.users = self.direct.users, []
        for employee in newest:
            first, last = self.name(int(employee.phone[-7:]))
            self.direct.knows(employee.phone, int(employee.max_id or 0), first, last)
        compare_waiting(60, pause=lambda _: None)
        self.direct.users = saved


@contextmanager
def inbox_worker() -> Iterator[None]:
    """Run the inbox worker in a thread, so that it lives under the test's clock."""
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            process_inbox()
            stopping.wait(0.05)
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
