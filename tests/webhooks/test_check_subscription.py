"""The daily comparison of MAX's subscriptions with ours."""

import logging

import psycopg
import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from profiles.max_api.client import MaxError
from tests.loopback import Answer
from tests.webhooks.conftest import SECRETS, URL
from tests.webhooks.fake_platform import FakePlatform
from webhooks.payloads import UPDATE_TYPES
from webhooks.subscription import subscription_problems
from webhooks.tasks import _LOCK, check_subscription

pytestmark = pytest.mark.django_db

STALE = "https://directory.example.ru/api/v1/webhook/max"


def events(caplog: pytest.LogCaptureFixture, level: int = logging.ERROR) -> list[str]:
    return [vars(record)["event"] for record in caplog.records if record.levelno == level]


def test_it_works(platform: FakePlatform, caplog: pytest.LogCaptureFixture) -> None:
    platform.sends_to(STALE)
    check_subscription()
    assert events(caplog) == ["subscription_lost", "subscription_stale"]
    assert not platform.writes


def test_a_correct_subscription_is_not_logged(platform: FakePlatform, caplog: pytest.LogCaptureFixture) -> None:
    platform.sends_to(URL, update_types=[*UPDATE_TYPES, "message_read"])
    platform.sends_to("https://crm.example.com/hook")
    check_subscription()
    assert not caplog.records


def test_no_types_are_all_types(platform: FakePlatform) -> None:
    platform.sends_to(URL)
    assert subscription_problems() == []


def test_it_subscribes_again_when_allowed(
    platform: FakePlatform, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings.WEBHOOK_AUTO_RESUBSCRIBE = True
    platform.sends_to(STALE)
    check_subscription()
    assert platform.urls == [URL]
    assert platform.secrets == {URL: SECRETS[0]}
    assert platform.writes == [("POST", URL), ("DELETE", STALE)]
    assert events(caplog, logging.INFO) == ["subscription_restored"] * 2
    caplog.clear()
    check_subscription()
    assert not caplog.records


@pytest.mark.parametrize(
    "spelling",
    [URL, f"{URL}/", "https://Directory.Example.RU/webhook/max", "https://directory.example.ru:443/webhook/max/"],
)
def test_it_never_subscribes_our_url_twice(platform: FakePlatform, settings: Settings, spelling: str) -> None:
    settings.WEBHOOK_AUTO_RESUBSCRIBE = True
    platform.sends_to(spelling, update_types=["bot_started"])
    platform.sends_to(STALE)
    check_subscription()
    assert platform.writes == [("DELETE", STALE)]
    assert platform.urls == [spelling]


def test_it_removes_another_spelling_of_our_url(platform: FakePlatform, settings: Settings) -> None:
    settings.WEBHOOK_AUTO_RESUBSCRIBE = True
    platform.sends_to(f"{URL}/", URL)
    check_subscription()
    assert platform.urls == [URL]


def test_it_removes_nothing_while_max_does_not_subscribe(platform: FakePlatform, settings: Settings) -> None:
    settings.WEBHOOK_AUTO_RESUBSCRIBE = True
    platform.sends_to(STALE)
    listed = Answer(200, {"subscriptions": platform.subscriptions})
    platform.answers = [listed, listed, Answer(503, headers={"Retry-After": "1"})]
    with pytest.raises(MaxError):
        check_subscription()
    assert (platform.urls, [method for method, _ in platform.writes]) == ([STALE], ["POST"])


@pytest.mark.django_db(transaction=True)
def test_it_is_not_repaired_by_two_workers_at_once(platform: FakePlatform, settings: Settings) -> None:
    settings.WEBHOOK_AUTO_RESUBSCRIBE = True
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        check_subscription()
    assert not platform.writes


@pytest.mark.parametrize("missing", ["MAX_BOT_TOKEN", "WEBHOOK_PUBLIC_URL"])
def test_without_configuration_max_is_not_called(platform: FakePlatform, settings: Settings, missing: str) -> None:
    setattr(settings, missing, "")
    check_subscription()
    assert not platform.asked


def test_an_outage_is_not_a_problem(platform: FakePlatform, caplog: pytest.LogCaptureFixture) -> None:
    platform.answers = [Answer(500)]
    with pytest.raises(MaxError):
        subscription_problems()
    assert not caplog.records


def test_the_worker_retries_after_an_outage(platform: FakePlatform) -> None:
    platform.answers = [Answer(500), Answer(500)]
    platform.sends_to(URL)
    assert check_subscription.apply().successful()
    assert [one.method for one in platform.asked] == ["GET"] * 3
