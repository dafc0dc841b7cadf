"""The direct API: people by their phones. How a request may fail is tested in test_client.py, for all callers."""

from datetime import timedelta

import pytest
from django.utils import timezone
from prometheus_client import REGISTRY
from pytest_django.fixtures import Settings

from profiles.max_api import users
from profiles.max_api.client import MaxError, UnexpectedAnswer
from profiles.max_api.users import DirectUser, fetch_users, is_served
from profiles.models import DirectApiPace
from tests.loopback import Answer
from tests.profiles.fake_max import FakeMax
from tests.webhooks.fake_platform import FakePlatform

PHONE = "+79161234567"

pytestmark = pytest.mark.django_db


def counted(status: str) -> float:
    return REGISTRY.get_sample_value("direct_api_calls_total", {"status": status}) or 0


def test_it_works(direct: FakeMax) -> None:
    direct.knows(PHONE, 42, " Олег ", "Сидоров")
    assert fetch_users([PHONE]) == {PHONE: DirectUser("42", "Олег", "Сидоров")}
    assert direct.requests == [("/internal/users", "bot-token", {"phone_numbers": [PHONE]})]


def test_it_leaves_out_who_is_not_in_max(direct: FakeMax) -> None:
    direct.knows("+79160000000", 42)
    direct.users.append({"user_id": 7, "phone_number": PHONE, "is_bot": True})
    assert fetch_users([PHONE, "+79161111111"]) == {}


def test_its_path_is_a_setting(direct: FakeMax, settings: Settings) -> None:
    settings.MAX_API_USERS_PATH = "/v2/users"
    fetch_users([PHONE])
    assert direct.requests[0][0] == "/v2/users"


@pytest.mark.parametrize("people", [[{"phone_number": PHONE, "user_id": True}], [None], ["x"]], ids=str)
def test_it_refuses_a_user_without_an_id(direct: FakeMax, people: list[object]) -> None:
    direct.users = people  # type: ignore[assignment]
    with pytest.raises(UnexpectedAnswer, match="documented format"):
        fetch_users([PHONE])


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 404}, {"body": b"[]"}, {"body": b"{}"}], ids=str)
def test_the_breaker_opens_after_five_failures(direct: FakeMax, fault: dict[str, object]) -> None:
    vars(direct).update(fault)
    errors, skipped = counted("error"), counted("skipped")
    for _ in range(7):
        with pytest.raises(MaxError):
            fetch_users([PHONE])
    assert len(direct.requests) == 5
    assert users.breaker.state == "open"
    assert (counted("error") - errors, counted("skipped") - skipped) == (5, 2)
    # What is not sent does not wait for its turn either.
    DirectApiPace.objects.update(free_at=timezone.now() + timedelta(seconds=60))
    with pytest.raises(MaxError, match="several times in a row"):
        fetch_users([PHONE])


def test_the_breaker_does_not_count_a_late_turn(direct: FakeMax) -> None:
    DirectApiPace.objects.create(id=1, free_at=timezone.now() + timedelta(seconds=60))
    for _ in range(7):
        with pytest.raises(MaxError, match="rate limit"):
            fetch_users([PHONE])
    assert direct.requests == []
    assert users.breaker.state == "closed"
    DirectApiPace.objects.update(free_at=timezone.now())
    assert fetch_users([PHONE]) == {}


def test_a_pause_from_when_the_clock_was_ahead_is_ignored(direct: FakeMax) -> None:
    """The clock of PostgreSQL was an hour ahead when the last request was sent."""
    ahead = timezone.now() + timedelta(hours=1)
    DirectApiPace.objects.create(id=1, free_at=ahead, set_at=ahead)
    assert fetch_users([PHONE]) == {}
    pace = DirectApiPace.objects.get()
    assert max(pace.free_at, pace.set_at) < timezone.now() + timedelta(seconds=1)
    DirectApiPace.objects.update(free_at=ahead)
    with pytest.raises(MaxError, match="rate limit"):
        fetch_users([PHONE])


@pytest.mark.parametrize(
    ("answer", "is_there"),
    [(Answer(404), False), (Answer(400), True), (Answer(200, {"users": []}), True)],
    ids=range(3),
)
def test_it_notices_a_path_that_max_does_not_have(platform: FakePlatform, answer: Answer, is_there: bool) -> None:
    platform.answers = [answer]
    assert is_served() is is_there
    assert platform.asked[0].body == {"phone_numbers": []}


@pytest.mark.parametrize("answer", [Answer(500), Answer(401), Answer(200, b"<html>")], ids=range(3))
def test_other_answers_prove_nothing(platform: FakePlatform, answer: Answer) -> None:
    platform.answers = [answer]
    with pytest.raises(MaxError):
        is_served()
