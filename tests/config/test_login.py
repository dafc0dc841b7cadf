"""Log-ins: the pinned algorithm, lockout and limits."""

import base64
import hashlib
import hmac
import json
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config.lib.http.throttling import LogInRate, TokenBuckets, UserRate
from employees.credentials.models import LogIn
from employees.credentials.tokens import access_token
from tests.config.test_error_pages import shown

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _full_buckets(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    for limit in (LogInRate, UserRate):
        monkeypatch.setattr(limit, "buckets", TokenBuckets())


@pytest.fixture
def user() -> User:
    return User.objects.create_superuser("anna", password="right")


@pytest.fixture
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine thirty requests take long enough for more."""
    monkeypatch.setattr("config.lib.http.throttling.time", SimpleNamespace(monotonic=lambda: 0.0))


def log_in(password: str = "right", **extra: Any) -> Any:  # noqa: S107
    return APIClient().post("/api/token", {"username": "anna", "password": password}, format="json", **extra)


def test_it_works(user: User) -> None:
    tokens = log_in().json()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens['access']}")
    assert client.get("/employees").status_code == 200


def forged(header: dict[str, str], claims: dict[str, Any], sign: bool) -> str:
    def part(data: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

    text = f"{part(header)}.{part(claims)}"
    digest = hmac.new(django_settings.SECRET_KEY.encode(), text.encode(), hashlib.sha512).digest()
    return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode() if sign else ''}"


@pytest.mark.parametrize(("algorithm", "sign"), [("none", False), ("None", False), ("HS512", True), ("HS256", False)])
def test_it_takes_no_other_algorithm(user: User, algorithm: str, sign: bool) -> None:
    token = forged({"alg": algorithm, "typ": "JWT"}, access_token(LogIn.objects.start(user)).payload, sign)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.get("/employees").status_code == 401


def test_a_refresh_token_opens_nothing(user: User) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {log_in().json()['refresh']}")
    answer = client.get("/employees", headers={"Accept-Language": "en"})
    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "The token is invalid or has expired. Log in again."


def test_five_wrong_passwords_lock_out(user: User) -> None:
    statuses = [log_in("wrong").status_code for _ in range(5)]
    assert statuses[:4] == [401] * 4
    answer = log_in()
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert int(answer.headers["Retry-After"]) == 900
    assert answer.json()["error"]["message"].startswith("Too many wrong passwords or codes. ")
    assert log_in(REMOTE_ADDR="10.0.0.9").status_code == 200


def test_success_forgives(user: User) -> None:
    for _ in range(3):
        assert [log_in("wrong").status_code for _ in range(4)] == [401] * 4
        assert log_in().status_code == 200


@pytest.mark.usefixtures("_no_time_passes")
def test_log_ins_are_limited_by_address(user: User) -> None:
    statuses = [APIClient().post("/api/token", {}, format="json").status_code for _ in range(30)]
    assert statuses == [400] * 30
    answer = log_in()
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert int(answer.headers["Retry-After"]) >= 1


def test_the_admins_log_in_locks_out_too(user: User, client: Client) -> None:
    wrong = {"username": "anna", "password": "wrong"}
    for _ in range(5):
        answer = client.post("/admin/login/", wrong, headers={"accept-language": "en"})
    page = answer.content.decode()
    assert shown(answer, 429) == "Too many log-in attempts"
    assert ("for the next 15 minutes" in page, answer["Retry-After"]) == (True, "900")
    assert client.post("/admin/login/", wrong | {"password": "right"}).status_code == 429


@pytest.mark.usefixtures("_no_time_passes")
def test_the_admins_log_ins_are_limited_by_address_too(client: Client) -> None:
    for _ in range(31):
        answer = client.post("/admin/login/", headers={"accept-language": "en"})
    assert shown(answer, 429) == "Too many log-in attempts"
    assert ("for the next 1 minute." in answer.content.decode(), answer["Retry-After"]) == (True, "2")


@pytest.mark.usefixtures("_no_time_passes")
def test_requests_of_one_user_are_limited(api: APIClient, settings: Settings) -> None:
    settings.API_RATE_LIMIT = 1
    statuses = [api.get("/universities").status_code for _ in range(12)]
    assert statuses[:10] == [200] * 10
    assert statuses[-1] == 429


def test_a_bucket_fills_again_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("config.lib.http.throttling.time", SimpleNamespace(monotonic=lambda: now[0]))
    buckets = TokenBuckets()
    assert buckets.take("a", rate=10, burst=1) == 0
    assert buckets.take("a", rate=10, burst=1) == pytest.approx(0.1)
    now[0] += 0.2
    assert buckets.take("a", rate=10, burst=1) == 0
    for number in range(10_001):
        buckets.take(str(number), rate=1, burst=1)
    assert buckets.take("0", rate=1, burst=1) == 0
