"""One answer for one Idempotency-Key."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from rest_framework.test import APIClient

from employees.models import Employee, IdempotentRequest, University
from tests.conftest import client_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


def post(api: APIClient, university: University, key: str = "k1", **fields: Any) -> Any:
    body = {"phone": "+12025550100", "first_name": "А", "last_name": "Б", "university_id": university.pk} | fields
    return api.post("/employees", body, format="json", HTTP_IDEMPOTENCY_KEY=key)


def test_it_works(api: APIClient, university: University) -> None:
    first, second = post(api, university), post(api, university)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert Employee.objects.count() == 1


def test_another_body_is_422(api: APIClient, university: University) -> None:
    post(api, university)
    answer = post(api, university, first_name="В")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "IDEMPOTENCY_MISMATCH")


def test_another_users_key_is_another_key(api: APIClient, university: University) -> None:
    post(api, university)
    other = client_of(User.objects.create_superuser("other"))
    assert post(other, university).status_code == 409


def test_in_flight_is_409_until_it_is_abandoned(api: APIClient, university: University) -> None:
    post(api, university)
    IdempotentRequest.objects.update(status=None)
    answer = post(api, university)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "IDEMPOTENCY_IN_FLIGHT")
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    assert post(api, university, phone="+12025550101").status_code == 201


@pytest.mark.parametrize("hours", [-25, 25])
def test_the_clock_of_a_host_does_not_matter(university: University, superadmin: User, hours: int) -> None:
    """The key is kept for 24 hours by PostgreSQL's clock, also if the clock of the host differs from it."""
    api = APIClient()
    api.force_authenticate(superadmin)  # A token would be of another day.
    with time_machine.travel(timezone.now() + timedelta(hours=hours)):
        first = post(api, university)
    second = post(api, university)
    assert (first.status_code, second.status_code) == (201, 201), second.content
    assert first.json() == second.json()
    IdempotentRequest.objects.update(status=None)
    assert post(api, university).json()["error"]["code"] == "IDEMPOTENCY_IN_FLIGHT"
    assert IdempotentRequest.objects.filter(created_at__gt=Now()).count() == 0


def test_a_refused_request_leaves_the_key_free(api: APIClient, university: University) -> None:
    assert post(api, university, phone="1").status_code == 400
    assert post(api, university).status_code == 201


@pytest.mark.parametrize("key", ["", "я", "x" * 256, "a b"])
def test_it_refuses_an_invalid_key(api: APIClient, university: University, key: str) -> None:
    assert post(api, university, key).json()["error"]["code"] == "VALIDATION_ERROR"


@pytest.mark.django_db(transaction=True)
def test_parallel_repeats_make_one_employee(university: University, superadmin: User) -> None:
    def one(_: int) -> int:
        try:
            return int(post(client_of(superadmin), university).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(one, range(8)))
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert Employee.objects.count() == 1
