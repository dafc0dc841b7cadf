"""POST /api/token asks for a code; tokens that were handed out without one end."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config.lib.http.throttling import LogInRate, TokenBuckets
from employees.credentials import second_factor
from employees.credentials.models import LogIn
from employees.credentials.tokens import issue
from tests.config.test_access_log import lines
from tests.employees.credentials.factors import PASSWORD, code, enrol, factors
from tests.employees.credentials.test_api_keys import READ, create

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _required(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ADMIN_MFA_REQUIRED = True
    monkeypatch.setattr(LogInRate, "buckets", TokenBuckets())


@pytest.fixture
def user() -> User:
    user = User.objects.create_user("anna", password=PASSWORD)
    user.groups.add(Group.objects.get_or_create(name="superadmin")[0])
    return user


def log_in(**body: object) -> Any:
    return APIClient().post("/api/token", {"username": "anna", "password": PASSWORD, **body}, format="json")


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def status(token: str) -> int:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return int(client.get("/employees").status_code)


def test_it_works(user: User) -> None:
    enrol(user)
    pair = log_in(code=code()).json()
    assert status(pair["access"]) == 200
    assert APIClient().post("/api/token/refresh", {"refresh": pair["refresh"]}, format="json").status_code == 200


def test_it_refuses_a_missing_code(user: User, caplog: pytest.LogCaptureFixture) -> None:
    enrol(user)
    for body in ({}, {"code": ""}):
        answer = log_in(**body)
        assert refused(answer) == (401, "SECOND_FACTOR_REQUIRED")
        assert "Send its current code" in answer.json()["error"]["message"]
        assert [line.get("outcome") for line in lines(caplog)] == ["second_factor_required", None]
    assert refused(log_in(code="000000", password="wrong")) == (401, "UNAUTHORIZED")
    assert log_in(code=code()).status_code == 200


def test_it_refuses_wrong_and_used_codes(user: User) -> None:
    codes = enrol(user)
    now = code()
    assert refused(log_in(code="000000")) == (401, "SECOND_FACTOR_INVALID")
    assert log_in(code=now).status_code == 200
    assert refused(log_in(code=now)) == (401, "SECOND_FACTOR_INVALID")
    assert log_in(code=codes[1]).status_code == 200
    assert refused(log_in(code=codes[1])) == (401, "SECOND_FACTOR_INVALID")


@pytest.mark.parametrize("text", ["x" * 31, [], {}, "\0", "٠١٢٣٤٥"])
def test_any_code_is_answered(user: User, text: object) -> None:
    enrol(user)
    assert log_in(code=text).status_code in (400, 401)


def test_it_locks_out(user: User) -> None:
    enrol(user)
    answers = [log_in(code=f"{number:06}").status_code for number in range(6)]
    assert answers == [401] * 4 + [429] * 2
    assert log_in(code=code()).status_code == 429
    page = Client().post("/admin/login/", {"username": "anna", "password": PASSWORD})
    assert page.status_code == 429


def test_an_account_without_one_is_sent_to_set_it_up(user: User) -> None:
    answer = log_in(code="123456")
    assert refused(answer) == (401, "SECOND_FACTOR_NOT_SET_UP")
    assert "/admin/" in answer.json()["error"]["message"]


def test_tokens_from_before_the_enrolment_end(user: User, settings: Settings) -> None:
    """Those of the earlier release too, which writes no such column."""
    settings.ADMIN_MFA_REQUIRED = False
    pair = log_in().json()
    assert status(pair["access"]) == 200
    settings.ADMIN_MFA_REQUIRED = True
    for _ in range(2):
        assert status(pair["access"]) == 401
        answer = APIClient().post("/api/token/refresh", {"refresh": pair["refresh"]}, format="json")
        assert refused(answer) == (401, "UNAUTHORIZED")
        if not factors(user):
            enrol(user)
    assert status(issue(LogIn.objects.start(user, has_second_factor=True))["access"]) == 200


def test_an_account_that_needs_none_keeps_its_tokens() -> None:
    user = User.objects.create_user("anna", password=PASSWORD)
    answer = log_in()
    assert answer.status_code == 200
    user.groups.add(Group.objects.get_or_create(name="operator")[0])
    assert status(answer.json()["access"]) == 401, "it sees people now"


def test_keys_of_services_need_no_code(user: User) -> None:
    user.is_superuser = True
    user.save()
    _key, client = create(user, READ)
    assert client.get("/employees").status_code == 200
    assert second_factor.is_needed(user)
