"""Subscriptions: the requests to MAX, and which URLs it reaches. Failures are in tests/profiles/max_api."""

from datetime import UTC, datetime

import pytest
from pytest_django.fixtures import Settings

from profiles.max_api.client import MaxError
from tests.loopback import Asked
from tests.webhooks.conftest import SECRETS, URL
from tests.webhooks.fake_platform import FakePlatform
from webhooks import payloads
from webhooks.payloads import UPDATE_TYPES
from webhooks.subscription import Subscription, canonical, repair, subscriptions, unsubscribe

pytestmark = pytest.mark.django_db


def test_it_works(platform: FakePlatform) -> None:
    platform.subscriptions = [{"url": URL, "time": 1_764_000_000_000, "update_types": ["bot_started"]}]
    (existing,) = subscriptions()
    assert existing == Subscription(URL, datetime(2025, 11, 24, 16, tzinfo=UTC), frozenset({"bot_started"}))
    unsubscribe(URL)
    assert subscriptions() == []
    assert list(repair([], URL, [])) == [f"Subscribed {URL} to all update types, with a secret"]
    body = {"url": URL, "update_types": list(UPDATE_TYPES), "secret": SECRETS[0]}
    assert platform.asked[-1] == Asked("POST", "/subscriptions", {}, body)


def test_all_19_update_types_are_known() -> None:
    assert len(UPDATE_TYPES) == len(set(UPDATE_TYPES)) == 19
    assert [payloads.type_of({"update_type": name}) for name in UPDATE_TYPES] == list(UPDATE_TYPES)


def test_without_a_secret_nothing_is_removed_or_added(platform: FakePlatform, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = []
    platform.sends_to("https://old.example.ru/webhook/max")
    with pytest.raises(MaxError, match="WEBHOOK_SECRET"):
        list(repair(subscriptions(), URL, ["old.example.ru"]))
    assert not platform.writes


@pytest.mark.parametrize("url", [URL, f"{URL}/", URL.replace(".ru", ".ru:443"), URL.replace("dir", "DIR")])
def test_one_url_has_one_spelling(url: str) -> None:
    assert canonical(url) == URL


@pytest.mark.parametrize(
    "url",
    [
        "",
        "directory.example.ru/webhook/max",
        "http://directory.example.ru/webhook/max",
        "https://directory.example.ru:8443/webhook/max",
        "https://directory.example.ru:99999/webhook/max",
        "https://directory.example.ru/",
        "https://directory.example.ru/webhook/max/2",
        "https://user:word@directory.example.ru/webhook/max",
        "https://directory.example.ru/webhook/max#top",
        "https://каталог.рф/webhook/max",
        "https:///webhook/max",
    ],
)
def test_it_refuses_a_url_that_max_would_not_reach(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical(url)
