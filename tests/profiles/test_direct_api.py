import time
from datetime import timedelta
from typing import Any

import pytest
import requests
import responses
from pytest_django.fixtures import Settings

from profiles import direct_api
from profiles.direct_api import DirectApiError, DirectUser, find_user
from tests.profiles.fake_max import FakeMax

PHONE = "+79161234567"


def test_it_works(direct: FakeMax) -> None:
    direct.knows(PHONE, 42, " Олег ", "Сидоров")
    assert find_user(PHONE) == DirectUser("42", "Олег", "Сидоров")
    assert direct.requests == [("/internal/users", "bot-token", {"phone_numbers": [PHONE]})]


def test_without_a_token_no_phone_leaves(direct: FakeMax, settings: Settings) -> None:
    settings.MAX_BOT_TOKEN = ""
    with pytest.raises(DirectApiError, match="MAX_BOT_TOKEN is not set"):
        find_user(PHONE)
    assert direct.requests == []


def test_nobody_is_not_an_error(direct: FakeMax) -> None:
    assert find_user(PHONE) is None


def test_another_phones_user_is_nobody(direct: FakeMax) -> None:
    direct.knows("+79160000000", 42)
    assert find_user(PHONE) is None


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
        {"body": b"<html>"},
        {"body": b""},
        {"body": b"[]"},
        {"body": b'{"users": {}}'},
        {"body": b"[" * 100_000},
        {"body": b'{"users": []}' + b" " * 10_000_000},
        {"users": [{"phone_number": "79161234567", "user_id": True}]},
    ],
    ids=range(10),
)
def test_it_refuses_an_answer_that_makes_no_sense(direct: FakeMax, answer: dict[str, Any]) -> None:
    for name, value in answer.items():
        setattr(direct, name, value)
    with pytest.raises(DirectApiError):
        find_user(PHONE)


@pytest.mark.parametrize("fault", ["delay", "drip"])
def test_it_gives_up_in_time(direct: FakeMax, settings: Settings, fault: str) -> None:
    settings.MAX_API_TIMEOUT = timedelta(milliseconds=300)
    direct.body = b'{"users": []}' * 100
    setattr(direct, fault, 2.0 if fault == "delay" else 0.05)
    started = time.monotonic()
    with pytest.raises(DirectApiError):
        find_user(PHONE)
    assert time.monotonic() - started < 1


@responses.activate
def test_an_unreachable_api_opens_the_breaker(settings: Settings) -> None:
    settings.MAX_API_URL, settings.MAX_BOT_TOKEN = "http://max.test", "bot-token"
    call = responses.post("http://max.test/internal/users", body=requests.ConnectionError())
    for _ in range(8):
        with pytest.raises(DirectApiError):
            find_user(PHONE)
    assert call.call_count == 5
    assert direct_api.breaker.state == "open"
