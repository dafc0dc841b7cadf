"""Two releases on one database and cache while it is migrated, in the order of a deployment: nobody gets an error.

Forward: the columns are added, then the new release is deployed. Back: the old release is deployed, then they go.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from redis import Redis
from rest_framework.test import APIClient

from employees import name_source_archive
from employees.models import Employee, University
from tests.conftest import Phases, client_of
from tests.employees.conftest import FEW, ROWS
from tests.employees.test_migrations import OldClient, migrate
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300 + ROWS // 500)]


class NewClient:
    """The API of this release, used in a thread; as a context it counts the answers by method and status."""

    def __init__(self, api: APIClient, university: University, first: int) -> None:
        self.api, self.university, self.number = api, university, first
        self.answers: Counter[tuple[str, int]] = Counter()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.stopping.is_set():
            self.number += 1
            self.turn(f"+7916{self.number:07d}")
        connection.close()

    def turn(self, phone: str) -> None:
        body = {"phone": phone, "max_id": "7", "university_id": self.university.pk}
        created = self.count("POST", self.api.post("/employees", body, format="json"))
        path = f"/employees/{created['id']}"
        self.count("PATCH", self.api.patch(path, {"role": "operator"}, format="json"))
        self.count("GET", self.api.get("/employees", {"profile_source": "default", "ordering": "-created_at"}))
        self.count("GET", self.api.get(path))

    def count(self, method: str, answer: object) -> dict[str, object]:
        self.answers[method, answer.status_code] += 1  # type: ignore[attr-defined]
        assert answer.status_code < 400, answer.content  # type: ignore[attr-defined]
        body: dict[str, object] = answer.json()  # type: ignore[attr-defined]
        return body

    def __enter__(self) -> "NewClient":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.thread.join()


@pytest.fixture
def api_client(superadmin: User, redis: Redis, phases: Phases) -> Iterator[APIClient]:
    add_profile("7")
    yield client_of(superadmin)
    migrate("0105")


def back(name: str) -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(
        None, plan=[(step, True) for step in name_source_archive.rollback_plan(executor) if step.name.startswith(name)]
    )


def served(client: NewClient, step: str) -> None:
    """Take a step while the new release serves, and let it serve a while after."""
    back(step.removeprefix("-")) if step.startswith("-") else migrate(step)
    enough, deadline = client.answers.total() + 4, time.monotonic() + 60
    while client.answers.total() < enough:
        assert client.thread.is_alive(), f"the new release failed at {step}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.integration
@pytest.mark.parametrize("people", [FEW], indirect=True)
def test_it_works(people: None, api_client: APIClient, university: University) -> None:
    with OldClient() as old:
        with NewClient(api_client, university, 0) as new:
            for step in ("-0105", "-0104", "-0103", "-0102", "-0101", "-0100", "-0003"):
                served(new, step)
        back("0002")
        assert not name_source_archive.has_column()
        created_without = old.mark()[0]
        migrate("0002")
        with NewClient(api_client, university, 1_000_000) as newer:
            for step in ("0003", "0105"):
                served(newer, step)
        assert old.mark()[0] > created_without > 0
        old.process.terminate()
    assert {status for answers in (new.answers, newer.answers) for _, status in answers} == {200, 201}
    created = Employee.objects.filter(phone__startswith="+79160", max_id="7")
    assert set(created.values_list("profile_source", flat=True)) == {"default"}


def test_a_release_that_is_too_new_answers_503(api_client: APIClient, university: University) -> None:
    body = {"phone": "+79160000001", "max_id": "7", "university_id": university.pk}
    assert api_client.post("/employees", body | {"phone": "+79160000002"}, format="json").status_code == 201
    name_source_archive.roll_back()
    for answer in (api_client.get("/employees"), api_client.post("/employees", body, format="json")):
        assert answer.status_code == 503
        assert answer["Retry-After"]
        assert answer.json()["error"]["message"] == "The database schema does not match this release."
    migrate("0105")
    assert api_client.post("/employees", body, format="json").status_code == 201
