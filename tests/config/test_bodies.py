"""Bodies of the API that are too large; those of a length that nobody announced are test_web's."""

import json

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from tests.conftest import bearer
from tests.webhooks.sending import send

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def token(superadmin: User) -> str:
    return bearer(superadmin)


def body_of(size: int) -> bytes:
    body = json.dumps({"phone": "+12025550100", "first_name": "А", "last_name": "Б"}).encode()
    return body[:-1] + b" " * (size - len(body)) + b"}"


@pytest.fixture
def limit() -> int:
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)


def test_it_refuses_a_body_over_the_limit(token: str, limit: int) -> None:
    answer = send(body_of(limit + 1), path="/employees", authorization=token)
    assert (answer.status, answer.code) == (413, "PAYLOAD_TOO_LARGE")


def test_up_to_the_limit_it_is_judged_by_its_content(token: str, limit: int, cache_first: None) -> None:
    answer = send(body_of(limit), path="/employees", authorization=token)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


def test_a_form_over_the_limit_is_refused_by_a_page(limit: int) -> None:
    form, cookie = b"username=" + b"x" * limit, f"csrftoken={'a' * 32}"
    answer = send(form, path="/admin/login/", content_type="application/x-www-form-urlencoded", cookie=cookie)
    assert (answer.status, answer.headers["Content-Type"]) == (413, "text/html; charset=utf-8")
