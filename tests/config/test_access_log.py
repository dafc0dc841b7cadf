"""Each log-in, log-out and refusal is a line with the user name, the address and the outcome."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from config.lib.http.throttling import LogInRate, TokenBuckets
from config.lib.logs import formatter
from tests.webhooks.sending import send

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _full_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogInRate, "buckets", TokenBuckets())


@pytest.fixture
def user() -> User:
    return User.objects.create_user("anna", password="right", is_staff=True)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the lines of the component as written, without what all lines have."""
    written = [json.loads(formatter().format(record)) for record in caplog.records if record.name == "access"]
    for line in written:
        assert (line.pop("component"), bool(line.pop("timestamp")), bool(line.pop("message"))) == ("access", True, True)
        line.pop("request_id", None)
    caplog.clear()
    return written


def line(event: str, user: str, method: str, path: str, level: str = "WARNING", **fields: object) -> dict[str, Any]:
    where = {"address": "127.0.0.1", "method": method, "path": path}
    return {"level": level, "event": event, "user": user, **where, **fields}


def test_it_works(user: User, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    tokens = APIClient().post("/api/token", {"username": "anna", "password": "right"}, format="json").json()
    assert lines(caplog) == [line("log_in", "anna", "POST", "/api/token", "INFO", outcome="success")]
    client.post("/admin/login/", {"username": "anna", "password": "right"})
    assert lines(caplog) == [line("log_in", "anna", "POST", "/admin/login/", "INFO", outcome="success")]
    client.post("/admin/logout/")
    assert lines(caplog) == [line("log_out", "anna", "POST", "/admin/logout/", "INFO")]
    APIClient().post("/api/token/revoke", {"refresh": tokens["refresh"]}, format="json")
    assert lines(caplog) == [line("log_out", "anna", "POST", "/api/token/revoke", "INFO")]


@pytest.mark.parametrize("path", ["/api/token", "/admin/login/"])
def test_failed_log_ins(user: User, client: Client, path: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(6):
        client.post(
            path, {"username": "anna", "password": "wrong"}, headers={"x-forwarded-for": "unknown"}, **JSON[path]
        )
    written = [entry for entry in lines(caplog) if entry["event"] == "log_in"]
    failed = line("log_in", "anna", "POST", path, outcome="wrong_credentials")
    # The fifth failure locks the name and address out.
    assert written == [failed] * 4 + [failed | {"outcome": "locked_out"}] * 2


JSON: dict[str, dict[str, Any]] = {"/api/token": {"content_type": "application/json"}, "/admin/login/": {}}


def test_refusals(
    user: User, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    APIClient().get("/employees?search=Иванов")
    assert lines(caplog) == [line("request_refused", "", "GET", "/employees", status=401)]
    client.force_login(user)
    lines(caplog)
    client.get("/admin/auth/user/")
    assert lines(caplog) == [line("request_refused", "anna", "GET", "/admin/auth/user/", status=403)]
    monkeypatch.setattr(LogInRate, "take", lambda _address: 2.0)
    client.post("/admin/login/")
    assert lines(caplog)[-1] == line("request_refused", "anna", "POST", "/admin/login/", status=429)


def test_a_form_without_its_token(user: User, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    lines(caplog)
    client.post("/admin/logout/")
    (written,) = lines(caplog)
    assert written.pop("reason").startswith("CSRF cookie not set")
    assert written == line("request_refused", "anna", "POST", "/admin/logout/", status=403)


def test_a_webhook_with_a_wrong_secret(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WEBHOOK_SECRETS = [b"s" * 16]
    settings.TRUSTED_PROXIES = 1
    assert send(path="/api/v1/webhook/max", client="10.0.0.1:4", x_forwarded_for="203.0.113.7:99").status == 401
    expected = line("request_refused", "", "POST", "/api/v1/webhook/max", status=401) | {"address": "203.0.113.7"}
    assert lines(caplog) == [expected]


def test_a_line_has_no_personal_data_and_no_control_characters(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.post("/api/token", {"username": "+79165551023\x1b[2J\u202e", "password": "x"}, "application/json")
    written = lines(caplog)[0]
    assert (written["event"], written["user"]) == ("log_in", "…23[2J")
    client.get("/employees/by-max-id/+79165551023")
    assert lines(caplog)[0]["path"] == "/employees/by-max-id/…23"


def test_a_request_of_an_unknown_user_needs_no_database(
    client: Client, caplog: pytest.LogCaptureFixture, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        client.get("/employees")
    assert lines(caplog) == [line("request_refused", "", "GET", "/employees", status=401)]
