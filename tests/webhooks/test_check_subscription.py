"""The daily comparison of MAX's subscriptions with ours."""

import logging

import pytest
from pytest_django.fixtures import Settings

from profiles.max_api.client import MaxError
from tests.loopback import Answer
from tests.webhooks.conftest import SECRETS, URL
from tests.webhooks.fake_platform import FakePlatform
from webhooks.payloads import UPDATE_TYPES
from webhooks.subscription import subscription_problems
from webhooks.tasks import check_subscription

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
    assert events(caplog, logging.INFO) == ["subscription_restored"]
    caplog.clear()
    check_subscription()
    assert not caplog.records


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
