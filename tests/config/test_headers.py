"""The headers of responses, and whose word counts for a client's address."""

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from config.lib.http.throttling import LogInRate, TokenBuckets
from tests.servers import FaultyServer

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _quick_passwords_and_no_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine thirty requests take long enough for more.
    monkeypatch.setattr("config.lib.http.throttling.time", SimpleNamespace(monotonic=lambda: 0.0))
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    monkeypatch.setattr(LogInRate, "buckets", TokenBuckets())


def test_it_works(client: Client) -> None:
    headers = client.get("/health").headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


def test_hsts_is_sent_over_https_only(client: Client, settings: Settings) -> None:
    settings.SECURE_HSTS_SECONDS = 10
    assert "Strict-Transport-Security" not in client.get("/health").headers
    assert client.get("/health", secure=True).headers["Strict-Transport-Security"] == "max-age=10"


def statuses(client: Client, count: int, **headers: str) -> list[int]:
    return [client.post("/api/token", {}, **headers).status_code for _ in range(count)]  # type: ignore[arg-type]


def test_a_client_cannot_choose_its_address(client: Client) -> None:
    """Without a proxy of ours the header is the client's own invention, and thirty log-ins a minute are all it gets."""
    answers = [statuses(client, 1, HTTP_X_FORWARDED_FOR=f"10.0.0.{number}")[0] for number in range(31)]
    assert answers[-1] == 429


def test_a_proxy_of_ours_reports_it(client: Client, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 1
    assert statuses(client, 31, HTTP_X_FORWARDED_FOR="6.6.6.6, 10.0.0.1")[-1] == 429
    assert statuses(client, 1, HTTP_X_FORWARDED_FOR="7.7.7.7, 10.0.0.1") == [429], "what the client wrote before it"
    assert statuses(client, 1, HTTP_X_FORWARDED_FOR="6.6.6.6, 10.0.0.2") != [429]


def test_the_admins_log_in_is_counted_with_the_apis(client: Client) -> None:
    wrong = {"username": "nobody", "password": "wrong"}
    assert client.post("/admin/login/", wrong).status_code == 200
    statuses(client, 30)
    assert client.post("/admin/login/", wrong).status_code == 429


def test_the_limits_need_no_redis(
    client: Client, redis_server: FaultyServer, superadmin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed for log-ins: still thirty, and wrong passwords counted. Open for the API: it answers as before."""
    superadmin.set_password("right")
    superadmin.save()
    redis_server.kill()
    token = client.post("/api/token", {"username": "root", "password": "right"}, "application/json").json()["access"]
    assert client.get("/employees", headers={"authorization": f"Bearer {token}"}).status_code == 200
    assert statuses(client, 30)[-1] == 429
    monkeypatch.setattr(LogInRate, "buckets", TokenBuckets())
    for _ in range(5):
        answer = client.post("/api/token", {"username": "root", "password": "wrong"}, "application/json")
    assert answer.status_code == 429
