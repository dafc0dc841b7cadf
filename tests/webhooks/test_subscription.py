"""Asking the platform's API: what is sent, and every way in which it can fail."""

import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from tests.loopback import Answer, Asked
from tests.webhooks.conftest import SECRETS, URL
from tests.webhooks.fake_platform import TOKEN, FakePlatform, fake_platform
from webhooks import updates
from webhooks.subscription import (
    UPDATE_TYPES,
    PlatformError,
    PlatformRefusal,
    Subscription,
    canonical,
    subscribe,
    subscriptions,
    unsubscribe,
)


def test_it_works(platform: FakePlatform) -> None:
    platform.subscriptions = [{"url": URL, "time": 1_764_000_000_000, "update_types": ["bot_started"]}]
    (found,) = subscriptions()
    assert found == Subscription(URL, datetime(2025, 11, 24, 16, tzinfo=UTC), frozenset({"bot_started"}))
    unsubscribe(URL)
    assert subscriptions() == []
    subscribe(URL, replacing=[])
    body = {"url": URL, "update_types": list(UPDATE_TYPES), "secret": SECRETS[0]}
    assert platform.asked[-1] == Asked("POST", "/subscriptions", {}, body)


def test_the_types_are_the_messengers_nineteen() -> None:
    assert len(UPDATE_TYPES) == len(set(UPDATE_TYPES)) == 19
    assert [updates.type_of({"update_type": name}) for name in UPDATE_TYPES] == list(UPDATE_TYPES)


def test_a_netrc_does_not_replace_the_token(
    platform: FakePlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert subscriptions() == []


def test_a_busy_platform_is_asked_again(platform: FakePlatform) -> None:
    platform.sends_to(URL)
    platform.answers = [Answer(429), Answer(429, headers={"Retry-After": "1"})]
    assert [found.url for found in subscriptions()] == [URL]


def test_it_gives_up_on_one_that_stays_busy(platform: FakePlatform) -> None:
    platform.answers = [Answer(429, {"code": "too.many", "message": "Too many requests"})] * 9
    with pytest.raises(PlatformError, match="429: Too many requests"):
        unsubscribe(URL)
    assert len(platform.asked) == 4


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(200, b"<html>"),
        Answer(200, b""),
        Answer(200, b"[]"),
        Answer(200, b"[" * 100_000),
        Answer(200, {}),
        Answer(200, {"subscriptions": None}),
        Answer(200, {"subscriptions": [{}]}),
        Answer(200, {"subscriptions": [{"url": 7}]}),
        Answer(200, {"subscriptions": [{"url": URL, "update_types": [{}]}]}),
        Answer(200, b'{"subscriptions": []}' + b" " * 9_000_000),
    ],
    ids=range(11),
)
def test_it_refuses_an_answer_that_makes_no_sense(platform: FakePlatform, answer: Answer) -> None:
    platform.answers = [answer]
    with pytest.raises(PlatformError) as caught:
        subscriptions()
    assert caught.type is PlatformError


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(302, headers={"Location": "http://127.0.0.1:1/"}), "302"),
        (Answer(400, {"code": "proto.payload", "message": "Bad\x1b[31m url"}), r"400: Bad\[31m url"),
        (Answer(403, b"<html>"), "403"),
        (Answer(200, {"success": False, "message": "Limit reached", "code": "limit"}), "refused: Limit reached"),
        (Answer(200, {"success": False}), "refused"),
    ],
)
def test_a_refusal_is_told_in_the_platforms_words(platform: FakePlatform, answer: Answer, said: str) -> None:
    platform.answers = [answer]
    with pytest.raises(PlatformRefusal, match=said):
        subscribe(URL, replacing=[])


def test_a_secret_that_the_platform_quotes_is_hidden(platform: FakePlatform) -> None:
    platform.answers = [Answer(400, {"message": f"bad secret {SECRETS[0]}, {SECRETS[1]} for {TOKEN}"})]
    with pytest.raises(PlatformRefusal, match=r"bad secret \*\*\*, \*\*\* for \*\*\*$"):
        subscribe(URL, replacing=[])


@pytest.mark.parametrize("token", ["два", " spaced\n"])
def test_a_token_that_is_no_header_is_not_quoted(platform: FakePlatform, settings: Settings, token: str) -> None:
    settings.MAX_BOT_TOKEN = token
    with pytest.raises(PlatformError) as caught:
        subscriptions()
    assert token.strip() not in str(caught.value)


def test_without_a_token_nobody_is_asked(platform: FakePlatform, settings: Settings) -> None:
    settings.MAX_BOT_TOKEN = ""
    with pytest.raises(PlatformRefusal, match="MAX_BOT_TOKEN"):
        subscriptions()
    assert not platform.asked


def test_without_a_secret_nothing_is_removed_or_added(platform: FakePlatform, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = []
    platform.sends_to("https://old.example.ru/webhook/max")
    with pytest.raises(PlatformRefusal, match="WEBHOOK_SECRET"):
        subscribe(URL, replacing=subscriptions())
    assert not platform.writes


def test_it_gives_up_in_time(platform: FakePlatform, settings: Settings) -> None:
    settings.MAX_API_TIMEOUT = timedelta(milliseconds=300)
    platform.answers = [Answer(200, b'{"subscriptions": []}' + b" " * 100, drip=0.05)]
    started = time.monotonic()
    with pytest.raises(PlatformError, match="too long"):
        subscriptions()
    assert time.monotonic() - started < 1


def test_an_unreachable_platform_is_an_error(platform: FakePlatform, settings: Settings) -> None:
    settings.MAX_API_URL = "http://user:password@127.0.0.1:1"
    with pytest.raises(PlatformError, match=r"^the platform at 127\.0\.0\.1:1 cannot be reached$"):
        subscriptions()


def test_its_certificate_is_checked_against_the_bundle(
    platform: FakePlatform, settings: Settings, tmp_path: Path
) -> None:
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl is not installed: no certificate can be made")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=MAX"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([openssl, *new.split(), *names], check=True, capture_output=True)  # noqa: S603
    with fake_platform((certificate, key)) as secure:
        settings.MAX_API_URL = secure.url
        with pytest.raises(PlatformError, match="MAX_API_CA_BUNDLE"):
            subscriptions()
        settings.MAX_API_CA_BUNDLE = certificate
        assert subscriptions() == []
        settings.MAX_API_CA_BUNDLE = str(tmp_path / "absent.pem")
        with pytest.raises(PlatformError, match="MAX_API_CA_BUNDLE"):
            subscriptions()


@pytest.mark.parametrize("url", [URL, URL.replace(".ru", ".ru:443"), URL.replace("dir", "DIR")])
def test_one_address_has_one_spelling(url: str) -> None:
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
def test_it_refuses_an_address_that_max_would_not_reach(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical(url)
