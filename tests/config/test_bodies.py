"""Bodies of the API that are too large; those of a length that nobody announced are test_web's."""

import json

import pytest
from django.contrib.auth.models import User

from config.rsgi.bridge import LARGEST_BODY
from config.web import WebServer
from tests import loops
from tests.conftest import bearer
from tests.webhooks.sending import Protocol, Reply, RequestScope

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def token(superadmin: User) -> str:
    return bearer(superadmin)


def body_of(size: int) -> bytes:
    body = json.dumps({"phone": "+12025550100", "first_name": "А", "last_name": "Б"}).encode()
    return body[:-1] + b" " * (size - len(body)) + b"}"


def send(server: WebServer, body: bytes, path: str = "/employees", **headers: str) -> Reply:
    protocol = Protocol([body])
    named = {"host": "testserver", "content-type": "application/json", "content-length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    loops.run(server.__rsgi__(RequestScope("POST", path, named), protocol))  # type: ignore[arg-type]
    (reply,) = protocol.replies
    return reply


def test_it_refuses_a_body_over_the_limit(token: str, server: WebServer) -> None:
    answer = send(server, body_of(LARGEST_BODY + 1), authorization=token)
    assert (answer.status, answer.code) == (413, "PAYLOAD_TOO_LARGE")


def test_up_to_the_limit_it_is_judged_by_its_content(token: str, server: WebServer, cache_first: None) -> None:
    answer = send(server, body_of(LARGEST_BODY), authorization=token)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


def test_a_form_over_the_limit_is_refused_by_a_page(server: WebServer) -> None:
    form, cookie = b"username=" + b"x" * LARGEST_BODY, f"csrftoken={'a' * 32}"
    answer = send(server, form, "/admin/login/", content_type="application/x-www-form-urlencoded", cookie=cookie)
    assert (answer.status, answer.headers["content-type"]) == (413, "text/html; charset=utf-8")
