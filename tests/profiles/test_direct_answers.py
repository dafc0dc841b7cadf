"""One question for all who want to know, at the pace the direct API allows."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from profiles import direct_answers
from profiles.direct_api import DirectApiError, DirectUser
from profiles.models import DirectAnswer
from tests.profiles.fake_max import FakeMax

PHONE = "+79161234567"

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(times: int, ask: Callable[[int], Any]) -> list[Any]:
    ready = threading.Barrier(times)

    def one(number: int) -> Any:
        try:
            ready.wait()
            return ask(number)
        except DirectApiError as error:
            return str(error)
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


@pytest.mark.parametrize("is_known", [True, False])
def test_fifty_who_miss_at_once_are_one_call(direct: FakeMax, is_known: bool) -> None:
    if is_known:
        direct.knows(PHONE, 7)
    direct.delay = 0.3
    answers = at_once(50, lambda _: direct_answers.find_user(PHONE))
    assert answers == [DirectUser("7", "Олег", "Сидоров") if is_known else None] * 50
    assert len(direct.requests) == 1


def test_an_outage_is_told_to_all_and_not_remembered(direct: FakeMax) -> None:
    direct.status, direct.delay = 500, 0.3
    answers = at_once(10, lambda _: direct_answers.find_user(PHONE))
    assert all(isinstance(answer, str) for answer in answers)
    direct.status, direct.delay = 200, 0
    direct.knows(PHONE, 7)
    assert direct_answers.find_user(PHONE) == DirectUser("7", "Олег", "Сидоров")


def test_an_absence_is_remembered_for_minutes(direct: FakeMax) -> None:
    assert direct_answers.find_user(PHONE) is None
    direct.knows(PHONE, 7)
    assert direct_answers.find_user(PHONE) is None
    DirectAnswer.objects.update(asked_at=timezone.now() - direct_answers.ABSENT_FOR - timedelta(seconds=1))
    assert direct_answers.find_user(PHONE)
    assert len(direct.requests) == 2


def test_one_who_died_asking_is_replaced(direct: FakeMax, settings: Settings) -> None:
    settings.MAX_API_TIMEOUT = timedelta(milliseconds=300)
    DirectAnswer.objects.create(phone=PHONE, asked_at=timezone.now(), outcome="asking")
    with pytest.raises(DirectApiError):
        direct_answers.find_user(PHONE)
    DirectAnswer.objects.update(asked_at=timezone.now() - timedelta(seconds=2))
    assert direct_answers.find_user(PHONE) is None


def test_it_keeps_to_thirty_a_second(direct: FakeMax) -> None:
    started = time.monotonic()
    at_once(31, lambda number: direct_answers.find_user(f"+7916000{number:04}"))
    assert len(direct.requests) == 31
    assert time.monotonic() - started >= 1


def test_a_429_is_obeyed_by_all(direct: FakeMax, settings: Settings) -> None:
    settings.MAX_API_TIMEOUT = timedelta(seconds=1)
    direct.status, direct.headers = 429, {"Retry-After": "60"}
    started = time.monotonic()
    for number in range(3):
        with pytest.raises(DirectApiError):
            direct_answers.find_user(f"+7916000{number:04}")
    assert len(direct.requests) == 1
    assert time.monotonic() - started < 1


def test_a_short_429_is_waited_out(direct: FakeMax) -> None:
    direct.knows(PHONE, 7)
    direct.status, direct.headers = 429, {"Retry-After": "1"}
    threading.Timer(0.5, lambda: setattr(direct, "status", 200)).start()
    started = time.monotonic()
    assert direct_answers.find_user(PHONE)
    assert 1 <= time.monotonic() - started < 2
    assert len(direct.requests) == 2


def test_old_answers_are_deleted(direct: FakeMax) -> None:
    direct_answers.find_user(PHONE)
    assert direct_answers.forget_old() == 0
    DirectAnswer.objects.update(asked_at=timezone.now() - timedelta(minutes=6))
    assert direct_answers.forget_old() == 1
