"""People who write to the bot, and a directory that takes them on: the traffic of the walk-through."""

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


class Traffic:
    """``employees`` are taken on and ``updates`` sent in all, in the shares that a day asks for."""

    def __init__(self, direct: FakeMax, user: User, employees: int, updates: int) -> None:
        self.direct, self.user = direct, user
        self.employees, self.updates = employees, updates
        self.hired = self.sent = 0
        self.universities = [University.objects.create(name=f"University {number}") for number in range(1, 5)]

    def name(self, number: int) -> tuple[str, str]:
        return FIRST[number % len(FIRST)], LAST[number % len(LAST)]

    def write(self, people: range, times: int = 1) -> None:
        """Let people write to the bot, so many times each."""
        numbers = [number for _ in range(times) for number in people]
        for start in range(0, len(numbers), 100):
            envelope = [self._update(number) for number in numbers[start : start + 100]]
            assert send({"updates": envelope}, x_max_bot_api_secret=SECRET).status == 200

    def _update(self, number: int) -> dict[str, object]:
        self.sent += 1
        first, last = self.name(number)
        sender = {"user_id": 100_000 + number, "first_name": first, "last_name": last, "is_bot": False}
        message = {
            "sender": sender,
            "recipient": {"chat_type": "dialog"},
            "body": {"mid": f"m{self.sent}", "text": "."},
        }
        moment = int(timezone.now().timestamp() * 1000)
        return {"update_type": "message_created", "timestamp": moment, "message": message}

    def hire(self, count: int, *, married: int = 0) -> None:
        """Take on the next employees; ``married`` of them have another last name at the direct API."""
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
                self.compare()
        self.hired += count
        self.compare()

    def compare(self) -> None:
        """Do what the worker does every few seconds; the API answers for whoever waits."""
        waiting = Employee.objects.order_by("-pk")[:60]
        known = {(person.phone, person.max_id) for person in waiting}
        saved, self.direct.users = self.direct.users, []
        for phone, max_id in known:
            first, last = self.name(int(phone[-7:]))
            self.direct.knows(phone, int(max_id or 0), first, last)
        compare_waiting(60, pause=lambda _: None)
        self.direct.users = saved


@contextmanager
def inbox_worker() -> Iterator[None]:
    """The inbox worker's loop in a thread of this process, under this process's clock."""
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
