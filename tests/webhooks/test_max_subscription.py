"""``manage.py max_subscription``, against a platform on loopback."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from tests.loopback import Answer
from tests.webhooks.conftest import SECRETS, URL
from tests.webhooks.fake_platform import TOKEN, FakePlatform

OTHERS = "https://crm.example.com/hook"
STALE = [
    "https://directory.example.ru/api/v1/webhook/max",
    "http://directory.example.ru:8095/webhook/max",
    "https://kazan.staff.example.ru/webhook/max/",
]
FORMER = "https://abc123.ngrok.example/webhook/max"


def run(*args: Any) -> str:
    output = io.StringIO()
    call_command("max_subscription", *args, stdout=output)
    assert not any(secret in output.getvalue() for secret in (*SECRETS, TOKEN))
    return output.getvalue()


def test_it_works(platform: FakePlatform) -> None:
    assert run("list") == "This bot has no subscriptions.\n"
    assert run("subscribe") == f"Subscribed {URL} to all update types, with a secret\n"
    assert platform.secrets == {URL: SECRETS[0]}
    assert URL in run("list")
    assert run("check") == f"MAX sends every update once, to {URL}\n"
    assert run("unsubscribe") == f"Unsubscribed {URL}\n"
    assert platform.urls == []


def test_subscribing_first_removes_our_stale_ones(platform: FakePlatform) -> None:
    platform.sends_to(OTHERS, FORMER, *STALE)
    output = run("subscribe")
    assert platform.writes == [*(("DELETE", url) for url in STALE), ("POST", URL)]
    assert platform.urls == [OTHERS, FORMER, URL]
    assert output.count("Removed") == len(STALE)


def test_a_former_host_is_ours_when_it_is_given(platform: FakePlatform) -> None:
    platform.sends_to(FORMER)
    run("subscribe", "--host", "abc123.ngrok.example")
    assert platform.urls == [URL]


def test_a_given_url_replaces_the_configured_one(platform: FakePlatform, settings: Settings) -> None:
    settings.WEBHOOK_PUBLIC_URL = ""
    platform.sends_to("https://new.example.ru/api/v1/webhook/max")
    run("subscribe", "--url", "https://new.example.ru:443/webhook/max")
    assert platform.urls == ["https://new.example.ru/webhook/max"]


def test_subscribing_again_changes_the_secret_without_a_gap(platform: FakePlatform, settings: Settings) -> None:
    run("subscribe")
    settings.WEBHOOK_SECRETS = [b"newest-secret-0123456789"]
    run("subscribe")
    assert platform.secrets == {URL: "newest-secret-0123456789"}
    assert {method for method, _ in platform.writes} == {"POST"}


@pytest.mark.parametrize("verb", ["subscribe", "unsubscribe"])
def test_a_dry_run_writes_nothing(platform: FakePlatform, verb: str) -> None:
    platform.sends_to(URL, *STALE)
    output = run(verb, "--dry-run")
    assert not platform.writes
    assert f"Would {verb} {URL}" in output
    assert output.count("Would remove") == (len(STALE) if verb == "subscribe" else 0)


def test_the_list_shows_the_start_and_the_types(platform: FakePlatform) -> None:
    platform.subscriptions = [{"url": "https://a.example/[red]x", "time": 0, "update_types": ["bot_started"]}]
    output = run("list")
    assert "[red]x" in output
    assert "1970-01-01 00:00" in output
    assert "bot_started" in output


def test_the_check_lists_the_problems(platform: FakePlatform) -> None:
    platform.sends_to(URL, update_types=["message_created", "bot_started"])
    platform.sends_to(STALE[0])
    with pytest.raises(CommandError) as caught:
        run("check")
    assert "does not send bot_added" in str(caught.value)
    assert f"also sends every update to {STALE[0]}" in str(caught.value)
    platform.subscriptions = []
    with pytest.raises(CommandError, match="sends no updates to"):
        run("check")


def test_two_subscriptions_of_one_url_are_a_problem(platform: FakePlatform) -> None:
    platform.sends_to(URL, URL)
    with pytest.raises(CommandError, match="2 times"):
        run("check")


@pytest.mark.parametrize("verb", ["subscribe", "check", "unsubscribe"])
def test_it_refuses_to_guess_the_url(platform: FakePlatform, settings: Settings, verb: str) -> None:
    settings.WEBHOOK_PUBLIC_URL = ""
    with pytest.raises(CommandError, match="WEBHOOK_PUBLIC_URL"):
        run(verb)


@pytest.mark.parametrize("url", ["http://a.example.ru/webhook/max", "https://a.example.ru:8443/webhook/max"])
def test_it_refuses_http_and_other_ports(platform: FakePlatform, url: str) -> None:
    with pytest.raises(CommandError, match="MAX sends updates"):
        run("subscribe", "--url", url)
    assert not platform.asked


def test_it_refuses_to_subscribe_without_a_secret(platform: FakePlatform, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = []
    with pytest.raises(CommandError, match="WEBHOOK_SECRET"):
        run("subscribe")
    assert not platform.asked


def test_a_stale_one_that_cannot_be_removed_stops_it(platform: FakePlatform) -> None:
    platform.sends_to(STALE[0])
    platform.answers = [
        Answer(200, {"subscriptions": platform.subscriptions}),
        Answer(200, {"success": False, "message": "Not now"}),
    ]
    with pytest.raises(CommandError, match="Not now"):
        run("subscribe")
    assert [method for method, _ in platform.writes] == ["DELETE"]


def test_it_refuses_to_unsubscribe_an_unknown_url(platform: FakePlatform) -> None:
    with pytest.raises(CommandError, match="no subscription"):
        run("unsubscribe")


def test_a_wrong_token_is_one_clear_line(platform: FakePlatform, settings: Settings) -> None:
    settings.MAX_BOT_TOKEN = "wrong"
    with pytest.raises(CommandError, match="401: Invalid access_token") as caught:
        run("list")
    assert "\n" not in str(caught.value)
