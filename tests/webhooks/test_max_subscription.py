"""``manage.py max_subscription``, against a platform on loopback."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from tests.loopback import Answer
from tests.webhooks.conftest import SECRETS, URL
from tests.webhooks.fake_platform import TOKEN, FakePlatform
from webhooks.payloads import UPDATE_TYPES

pytestmark = pytest.mark.django_db

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


def test_our_stale_ones_are_removed_after_subscribing(platform: FakePlatform) -> None:
    platform.sends_to(OTHERS, FORMER, *STALE)
    output = run("subscribe")
    assert platform.writes == [("POST", URL), *(("DELETE", url) for url in STALE)]
    assert platform.urls == [OTHERS, FORMER, URL]
    assert output.splitlines() == [
        f"Subscribed {URL} to all update types, with a secret",
        *(f"Removed {url}" for url in STALE),
    ]


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
    assert "1970-01-01 03:00:00+03:00" in output
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


@pytest.mark.parametrize(
    "answer", [Answer(200, {"success": False, "message": "Not now"}), Answer(500), Answer(hangs_up=True)], ids=range(3)
)
def test_nothing_is_removed_unless_max_subscribes(platform: FakePlatform, answer: Answer) -> None:
    platform.sends_to(*STALE)
    platform.answers = [Answer(200, {"subscriptions": platform.subscriptions}), answer]
    output = io.StringIO()
    with pytest.raises(CommandError):
        call_command("max_subscription", "subscribe", stdout=output)
    assert platform.writes == [("POST", URL)]
    # Only a refusal proves that MAX has not subscribed.
    assert bool(output.getvalue()) == (answer.status != 200 or answer.hangs_up)


def test_it_reports_what_it_did_before_an_error(platform: FakePlatform) -> None:
    platform.sends_to(*STALE)
    refusal = Answer(200, {"success": False, "message": "Not now"})
    platform.answers = [
        Answer(200, {"subscriptions": platform.subscriptions}), Answer(200, {"success": True}), refusal,
    ]  # fmt: skip
    output = io.StringIO()
    with pytest.raises(CommandError, match="Not now"):
        call_command("max_subscription", "subscribe", stdout=output)
    assert output.getvalue().splitlines() == [
        f"Subscribed {URL} to all update types, with a secret",
        f"Not removed: {STALE[0]}: MAX refused the request: Not now",
        *(f"Removed {url}" for url in STALE[1:]),
    ]


@pytest.mark.parametrize("secret", ["abcd", "with space 0123456789", "я" * 20, "x" * 257, "0123456789.0123456789"])
def test_a_secret_that_max_does_not_accept_is_not_sent(platform: FakePlatform, settings: Settings, secret: str) -> None:
    settings.WEBHOOK_SECRETS = [secret.encode()]
    platform.sends_to(*STALE)
    with pytest.raises(CommandError, match="5 to 256 characters"):
        call_command("max_subscription", "subscribe")
    assert not platform.asked


UNKNOWN = ["comment_removed", "dialog_cleared"]
PHRASES: dict[str, Callable[[list[str], list[str]], str]] = {
    "one at a time": lambda bad, sent: f"Unknown update type: {bad[0]}",
    "all at once": lambda bad, sent: f"update_types: unknown values {', '.join(bad)}",
    "of an enum": lambda bad, sent: f"'{bad[0]}' is not one of {[name for name in sent if name not in bad]}",
}


@pytest.mark.parametrize("phrase", PHRASES)
def test_refused_update_types_are_left_out(platform: FakePlatform, phrase: str) -> None:
    platform.refuse = lambda sent: (
        PHRASES[phrase](bad, sent) if (bad := [one for one in sent if one in UNKNOWN]) else ""
    )
    lines = run("subscribe").splitlines()
    assert lines == [
        *(f"MAX refuses the update type {name}, which is left out" for name in UNKNOWN),
        f"Subscribed {URL} to the other update types, with a secret",
    ]
    (subscribed,) = platform.subscriptions
    assert set(UPDATE_TYPES) - set(subscribed["update_types"]) == set(UNKNOWN)
    assert run("check") == f"MAX sends every update once, to {URL}\n"
    platform.refuse = lambda sent: ""
    platform.subscriptions = []
    assert run("subscribe") == f"Subscribed {URL} to all update types, with a secret\n"
    platform.subscriptions[0]["update_types"].remove(UNKNOWN[0])
    with pytest.raises(CommandError, match=UNKNOWN[0]):
        run("check")


VAGUE: dict[str, Callable[[list[str]], str]] = {
    "no name": lambda sent: "update_types is invalid",
    "a quotation": lambda sent: f"invalid {sent}",
    "the permitted ones": lambda sent: f"use only {list(UPDATE_TYPES)[5:9]}",
}


@pytest.mark.parametrize("phrase", VAGUE)
def test_a_list_that_is_refused_is_left_out(platform: FakePlatform, phrase: str) -> None:
    platform.refuse = lambda sent: VAGUE[phrase](sent) if sent else ""
    lines = run("subscribe").splitlines()
    assert lines[-2].startswith("MAX refuses the list of update types")
    assert lines[-1] == f"Subscribed {URL} to all update types, with a secret"
    assert [one["update_types"] for one in platform.subscriptions] == [None]


def test_another_refusal_is_an_error(platform: FakePlatform) -> None:
    platform.answers = [Answer(200, {"subscriptions": []}), Answer(400, {"message": "the url is not reachable"})]
    with pytest.raises(CommandError, match="not reachable"):
        run("subscribe")
    assert len(platform.writes) == 1


def test_it_refuses_to_unsubscribe_an_unknown_url(platform: FakePlatform) -> None:
    with pytest.raises(CommandError, match="no subscription"):
        run("unsubscribe")


def test_a_wrong_token_is_one_clear_line(platform: FakePlatform, settings: Settings) -> None:
    settings.MAX_BOT_TOKEN = "wrong"
    with pytest.raises(CommandError, match="401: Invalid access_token") as caught:
        run("list")
    assert "\n" not in str(caught.value)
