"""The search for missing MAX ids."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from employees import max_id_search
from employees.models import Employee, MaxIdJob, University
from employees.tasks import work_on_jobs
from profiles.max_api import users
from tests.profiles.fake_max import FakeMax

pytestmark = pytest.mark.django_db

PHONES = [f"+7916{number:07}" for number in range(250)]


@pytest.fixture
def people(university: University) -> None:
    Employee.objects.bulk_create([Employee(phone=phone, university=university) for phone in PHONES])


def start(api: APIClient) -> int:
    answer = api.post("/employees/batch-update-max-id")
    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"
    return int(answer.json()["id"])


@pytest.mark.long
def test_it_works(api: APIClient, people: None, direct: FakeMax) -> None:
    for number, phone in enumerate(PHONES[:240], 1):
        direct.knows(phone, number)
    Employee.objects.filter(phone=PHONES[5]).update(max_id="old")
    job = start(api)
    work_on_jobs()
    body = api.get(f"/employees/batch-jobs/{job}").json()
    assert body.pop("finished_at") > body.pop("created_at")
    assert body == {"id": job, "status": "done", "total": 249, "done": 239, "failed": 10}
    assert [len(request[2]["phone_numbers"]) for request in direct.requests] == [100, 100, 49]
    assert Employee.objects.get(phone=PHONES[7]).max_id == "8"
    assert Employee.objects.get(phone=PHONES[5]).max_id == "old"


def test_a_second_job_is_409(api: APIClient, people: None, direct: FakeMax) -> None:
    start(api)
    answer = api.post("/employees/batch-update-max-id")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "JOB_RUNNING")
    work_on_jobs()
    start(api)
    assert api.get("/employees/batch-jobs").json()["count"] == 2


def test_an_outage_pauses_it(api: APIClient, people: None, direct: FakeMax) -> None:
    for number, phone in enumerate(PHONES, 1):
        direct.knows(phone, number)
    start(api)
    direct.status = 500
    work_on_jobs()
    job = MaxIdJob.objects.get()
    assert (job.status, job.done, job.failed, job.outages) == ("running", 0, 0, 1)
    assert job.next_try_at > timezone.now()
    direct.status = 200
    users.breaker.close()
    MaxIdJob.objects.update(next_try_at=timezone.now() - timedelta(seconds=1))
    work_on_jobs()
    assert MaxIdJob.objects.get().done == 250


def test_without_a_token_it_fails_at_once(api: APIClient, people: None) -> None:
    start(api)
    work_on_jobs()
    job = MaxIdJob.objects.get()
    assert (job.status, job.failed) == ("failed", 250)
    assert job.finished_at


def work_and_close() -> None:
    work_on_jobs()
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_creates_do_not_wait_for_its_call(
    api: APIClient, people: None, direct: FakeMax, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(api)
    is_answered = threading.Event()
    monkeypatch.setattr(direct, "wait", is_answered.wait)
    working = threading.Thread(target=work_and_close)
    working.start()
    try:
        deadline = time.monotonic() + 60
        while not direct.requests:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        monkeypatch.setattr(direct, "wait", lambda: None)
        # If it waited for the job, which waits for this thread, MAX would be too late.
        assert users.lookup_once("+12025550100") is None
    finally:
        is_answered.set()
        working.join()


def test_another_worker_continues_after_a_crash(api: APIClient, people: None, direct: FakeMax) -> None:
    start(api)
    leased = max_id_search._lease()
    assert leased
    assert max_id_search._lease() is None
    MaxIdJob.objects.update(next_try_at=timezone.now())
    work_on_jobs()
    assert MaxIdJob.objects.get().status == "done"
    assert not max_id_search._store(leased, [], {})
