"""One request for all who want to know of a phone, at the pace that MAX allows."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from config.postgres.base import DatabaseWrapper, parameters, statement_deadline
from profiles.max_api import client, users
from profiles.max_api.client import MaxError
from profiles.max_api.users import DirectUser, lookup_once
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
        except MaxError as error:
            return str(error)
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


@pytest.mark.long
@pytest.mark.parametrize("is_known", [True, False])
def test_it_works_for_fifty_at_once_with_one_request(direct: FakeMax, is_known: bool) -> None:
    if is_known:
        direct.knows(PHONE, 7)
    direct.delay = 0.3
    answers = at_once(50, lambda _: lookup_once(PHONE))
    assert answers == [DirectUser("7", "Олег", "Сидоров") if is_known else None] * 50
    assert len(direct.requests) == 1


@pytest.mark.parametrize(("limit", "value"), [("commit_seconds", 5.0), ("lock_timeout_ms", 60_000)])
def test_a_process_that_stands_still_between_two_statements_blocks_nobody(
    direct: FakeMax, limit: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes that look people up write to one row, for the rate limit: web processes and task workers."""
    monkeypatch.setattr(DatabaseWrapper, limit, value)
    direct.knows(PHONE, 7)
    passed: list[str] = []

    def use_the_same_row(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        for table in ("direct_api_pace", "direct_answers"):
            if f"INSERT INTO {table}" in sql:
                with psycopg.connect(**parameters(), options="-c lock_timeout=300") as other:
                    other.execute(f"SELECT 1 FROM {table} FOR UPDATE")  # noqa: S608 (constants)
                passed.append(table)
        return result

    with connection.execute_wrapper(use_the_same_row):
        assert lookup_once(PHONE)
    assert sorted(passed) == ["direct_answers", "direct_api_pace"]


def test_a_row_that_another_process_holds_fails_the_lookup_in_time(direct: FakeMax, settings: Settings) -> None:
    direct.knows(PHONE, 7)
    assert lookup_once(PHONE)
    settings.MAX_API_TIMEOUT = timedelta(seconds=1)
    with psycopg.connect(**parameters()) as other:
        other.execute("SELECT 1 FROM direct_api_pace FOR UPDATE")
        with pytest.raises(MaxError, match="rate limit"):
            lookup_once("+79161234568")
    assert DirectAnswer.objects.get(phone="+79161234568").outcome == DirectAnswer.Result.FAILED


@pytest.mark.parametrize("outcome", [DirectAnswer.Result.FOUND, DirectAnswer.Result.ABSENT])
def test_an_expired_response_is_not_used_while_its_row_is_locked(
    direct: FakeMax, settings: Settings, outcome: str
) -> None:
    settings.MAX_API_TIMEOUT = timedelta(seconds=0.5)
    DirectAnswer.objects.create(phone=PHONE, outcome=outcome, asked_at=timezone.now() - 2 * users.ABSENT_FOR)
    with psycopg.connect(**parameters()) as other:
        other.execute("SELECT 1 FROM direct_answers FOR UPDATE")
        with pytest.raises(MaxError, match="parallel request for this phone") as failed:
            lookup_once(PHONE)
    assert failed.value.is_timeout


def test_a_response_is_returned_although_its_row_cannot_be_stored(direct: FakeMax) -> None:
    direct.knows(PHONE, 7)
    direct.delay = 0.5
    with psycopg.connect(**parameters()) as other, statement_deadline(2.0):

        def lock() -> None:
            while not direct.requests:
                time.sleep(0.01)
            other.execute("LOCK TABLE direct_answers IN SHARE MODE")

        thread = threading.Thread(target=lock)
        thread.start()
        assert lookup_once(PHONE) == DirectUser("7", "Олег", "Сидоров")
        thread.join()
    assert DirectAnswer.objects.get(phone=PHONE).outcome == DirectAnswer.Result.ASKING


def test_a_caller_that_waits_for_a_locked_row_is_answered_in_time(direct: FakeMax, settings: Settings) -> None:
    settings.MAX_API_TIMEOUT = timedelta(seconds=0.5)
    DirectAnswer.objects.create(phone=PHONE, outcome=DirectAnswer.Result.ASKING, asked_at=timezone.now())
    waits = threading.Event()

    def lock(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT"):
            waits.set()
            other.execute("LOCK TABLE direct_answers")
        return execute(sql, params, many, context)

    with (
        psycopg.connect(**parameters()) as other,
        connection.execute_wrapper(lock),
        pytest.raises(MaxError, match="still waiting") as failed,
    ):
        lookup_once(PHONE)
    assert (failed.value.is_timeout, waits.is_set()) == (True, True)


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_they_change_nothing_of_its_commit(direct: FakeMax) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = remote_apply")
        assert users.fetch_users([PHONE]) == {}
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("remote_apply",)


def test_it_shares_an_outage_and_does_not_remember_it(direct: FakeMax) -> None:
    direct.status, direct.delay = 500, 0.3
    answers = at_once(10, lambda _: lookup_once(PHONE))
    assert all(isinstance(answer, str) for answer in answers)
    direct.status, direct.delay = 200, 0
    users.breaker.close()
    direct.knows(PHONE, 7)
    assert lookup_once(PHONE) == DirectUser("7", "Олег", "Сидоров")


def test_it_remembers_an_absence_for_minutes(direct: FakeMax) -> None:
    assert lookup_once(PHONE) is None
    direct.knows(PHONE, 7)
    assert lookup_once(PHONE) is None
    DirectAnswer.objects.update(asked_at=timezone.now() - users.ABSENT_FOR - timedelta(seconds=1))
    assert lookup_once(PHONE)
    assert len(direct.requests) == 2


def test_it_forgets_an_answer_from_when_the_clock_was_ahead(direct: FakeMax) -> None:
    """The clock of PostgreSQL was an hour ahead when MAX answered."""
    lookup_once(PHONE)
    DirectAnswer.objects.update(asked_at=timezone.now() + timedelta(hours=1))
    lookup_once(PHONE)
    lookup_once(PHONE)
    assert len(direct.requests) == 2


def test_it_takes_over_from_a_process_that_died(
    direct: FakeMax, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    DirectAnswer.objects.create(phone=PHONE, asked_at=timezone.now(), outcome="asking")
    with monkeypatch.context() as patch:
        patch.setattr(client, "new_deadline", lambda: time.monotonic() + 0.3)
        with pytest.raises(MaxError, match="still waiting"):
            lookup_once(PHONE)
    DirectAnswer.objects.update(asked_at=timezone.now() - settings.MAX_API_TIMEOUT - timedelta(seconds=2))
    assert lookup_once(PHONE) is None


@pytest.mark.long
def test_it_keeps_to_thirty_a_second(direct: FakeMax) -> None:
    started = time.monotonic()
    at_once(31, lambda number: lookup_once(f"+7916000{number:04}"))
    assert len(direct.requests) == 31
    assert time.monotonic() - started >= 1


def test_everybody_obeys_a_429(direct: FakeMax) -> None:
    direct.status, direct.headers = 429, {"Retry-After": "120"}
    started = time.monotonic()
    for number, text in enumerate(["status 429", "rate limit", "rate limit"]):
        with pytest.raises(MaxError, match=text):
            lookup_once(f"+7916000{number:04}")
    assert len(direct.requests) == 1
    assert time.monotonic() - started < 30, "nobody waited until the deadline"
    # A pause that MAX asks for is no outage: the breaker has counted the 429 alone.
    assert users.breaker.state == "closed"


@pytest.mark.long
def test_it_waits_out_a_short_429(direct: FakeMax) -> None:
    direct.knows(PHONE, 7)
    direct.first_statuses, direct.headers = [429], {"Retry-After": "1"}
    started = time.monotonic()
    assert lookup_once(PHONE)
    assert time.monotonic() - started >= 1
    assert len(direct.requests) == 2


def test_it_forgets_old_answers(direct: FakeMax) -> None:
    lookup_once(PHONE)
    assert users.delete_old_answers() == 0
    DirectAnswer.objects.update(asked_at=timezone.now() - timedelta(minutes=6))
    assert users.delete_old_answers() == 1
