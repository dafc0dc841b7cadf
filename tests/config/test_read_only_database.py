"""While PostgreSQL is read-only, what would write is refused with 503 and Retry-After, and what reads works."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from config.lib.http.throttling import LogInRate, TokenBuckets
from employees.models import University
from tests.config.test_error_pages import shown
from tests.conftest import Phases

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis")]


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setattr(LogInRate, "buckets", TokenBuckets())
    return User.objects.create_superuser("anna", password="right")


@pytest.fixture
def read_only(redis: object, phases: Phases, user: User, university: University, api: APIClient) -> Iterator[None]:
    """Make this connection's transactions read-only, as default_transaction_read_only does for new connections."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")


def refused(answer: object) -> bool:
    code, retry = answer.json()["error"]["code"], answer["Retry-After"]  # type: ignore[attr-defined, index]
    return (answer.status_code, code, retry) == (503, "UNAVAILABLE", "5")  # type: ignore[attr-defined]


@pytest.mark.usefixtures("read_only")
def test_it_works(api: APIClient, client: Client) -> None:
    assert api.get("/employees").status_code == 200
    assert client.get("/admin/login/").status_code == 200


@pytest.mark.usefixtures("read_only")
def test_it_refuses_to_create(api: APIClient, university: University) -> None:
    body = {"phone": "+79165550001", "university_id": university.pk, "first_name": "А", "last_name": "Б"}
    assert refused(api.post("/employees", body, format="json"))
    assert refused(api.put("/profiles/1", {"max_first_name": "А"}, format="json"))
    assert refused(api.delete("/profiles/1"))
    rollout = {"reason": "r", "phase": 1, "percent": 5}
    assert refused(api.post("/monitoring/rollout/set", rollout, format="json"))


@pytest.mark.usefixtures("read_only")
@pytest.mark.parametrize("password", ["right", "wrong"])
def test_it_refuses_log_ins(client: Client, password: str) -> None:
    form = {"username": "anna", "password": password}
    assert refused(client.post("/api/token", form, "application/json"))
    answer = client.post("/admin/login/", form, headers={"accept-language": "en"})
    assert shown(answer, 503) == "Unavailable"
    assert answer["Retry-After"] == "5"
