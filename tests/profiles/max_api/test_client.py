"""The one client of MAX, by each of its callers: every way in which a request may fail, on a real server."""

import pickle
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import translation
from pytest_django.fixtures import Settings

from config.lib import outgoing
from profiles.max_api import client
from profiles.max_api.client import MaxError, UnexpectedAnswer
from profiles.max_api.users import fetch_users
from tests.loopback import Answer, serving
from tests.webhooks.fake_platform import TOKEN, FakePlatform, fake_platform
from webhooks.management.commands import max_poll
from webhooks.subscription import repair, subscriptions, unsubscribe

URL = "https://directory.example.ru/webhook/max"
SECRETS = ["new-secret-0123456789", "old-secret-0123456789"]
# Of a client without a deadline, each late answer takes longer than LATE seconds.
LATE = 20
DRIP = 0.2
NOTHING: dict[str, object] = {"users": [], "subscriptions": [], "updates": [], "marker": None}
SOON = timedelta(milliseconds=300)

pytestmark = pytest.mark.django_db

CALLERS: dict[str, Callable[[], object]] = {
    "/internal/users": lambda: fetch_users(["+79161234567"]),
    "/subscriptions": subscriptions,
    "/updates": lambda: list(max_poll.Command().batches(None, once=True)),
}
READS = pytest.mark.parametrize("path", CALLERS)
WRITES = pytest.mark.parametrize("write", [lambda: list(repair([], URL, [])), lambda: unsubscribe(URL)])


@pytest.fixture(autouse=True)
def _secrets(settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = [secret.encode() for secret in SECRETS]


def failure_of(path: str) -> MaxError:
    with pytest.raises(MaxError) as caught:
        CALLERS[path]()
    return caught.value


@READS
def test_it_works(platform: FakePlatform, path: str) -> None:
    assert not CALLERS[path]()
    assert [asked.path for asked in platform.asked] == [path]


@pytest.mark.long
@READS
@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=NOTHING, delay=LATE + 10),
        Answer(body=NOTHING, headers={"X-Long": " " * 150}, head_drip=DRIP),
        Answer(body=b" " * 150, drip=DRIP),
        Answer(500, b" " * 150, drip=DRIP),
        Answer(302, b" " * 150, {"Location": "/"}, drip=DRIP),
    ],
    ids=["silence", "headers in drops", "body in drops", "error in drops", "redirect in drops"],
)
def test_it_gives_up_in_time(platform: FakePlatform, settings: Settings, path: str, answer: Answer) -> None:
    settings.MAX_API_TIMEOUT = SOON
    platform.answers = [answer]
    started = time.monotonic()
    error = failure_of(path)
    assert time.monotonic() - started < LATE
    assert str(error) == f"MAX at {platform.url[7:]} did not answer in time"
    assert (error.is_timeout, error.is_refused, type(error)) == (True, False, MaxError)


@pytest.mark.long
def test_a_late_byte_does_not_renew_the_deadline(platform: FakePlatform, settings: Settings) -> None:
    settings.MAX_API_TIMEOUT = timedelta(seconds=1)
    platform.answers = [Answer(body=NOTHING, drip=0.8)]
    started = time.monotonic()
    assert failure_of("/subscriptions").is_timeout
    assert time.monotonic() - started < LATE


@READS
def test_it_gives_up_in_time_when_the_resolver_hangs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    settings.MAX_API_URL, settings.MAX_BOT_TOKEN = "http://api.max.example:8080", TOKEN
    settings.MAX_API_TIMEOUT = SOON
    is_over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: is_over.wait(2 * LATE) and [])
    started = time.monotonic()
    try:
        error = failure_of(path)
        assert time.monotonic() - started < LATE
    finally:
        is_over.set()
    assert (str(error), error.is_timeout) == ("MAX at api.max.example:8080 did not answer in time", True)


@pytest.mark.long
@READS
def test_one_deadline_holds_for_all_tries(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    left: list[float] = []
    within = outgoing.within

    def note(seconds: float) -> object:
        left.append(seconds)
        return within(seconds)

    monkeypatch.setattr(outgoing, "within", note)
    platform.answers = [Answer(502, delay=0.5)]
    CALLERS[path]()
    assert len(left) == 2
    assert left[1] <= left[0] - 0.5


@READS
@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"null", b"\xff", b"[" * 100_000], ids=range(6))
def test_it_refuses_what_is_not_a_json_object(platform: FakePlatform, path: str, body: bytes) -> None:
    platform.answers = [Answer(body=body)]
    error = failure_of(path)
    assert type(error) is UnexpectedAnswer
    assert str(error) == "the response from MAX is not a JSON object"


@READS
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"users": {}, "subscriptions": None, "updates": {}},
        {"users": [1], "subscriptions": [{}], "updates": [], "marker": "x"},
        {"users": [{"phone_number": "79161234567"}], "subscriptions": [{"url": 7}], "updates": None},
        {"users": "", "subscriptions": [{"url": URL, "update_types": [{}]}], "updates": ""},
    ],
    ids=range(5),
)
def test_it_refuses_another_form(platform: FakePlatform, path: str, body: dict[str, object]) -> None:
    platform.answers = [Answer(body=body)]
    error = failure_of(path)
    assert type(error) is UnexpectedAnswer
    assert str(error) == "the response from MAX does not have the documented format"


@READS
def test_it_refuses_a_huge_answer(platform: FakePlatform, path: str) -> None:
    platform.answers = [Answer(body=b'{"users": []}' + b" " * 9_000_000)]
    error = failure_of(path)
    assert type(error) is UnexpectedAnswer
    assert str(error) == "the response from MAX is larger than 8 MiB"


@READS
def test_it_does_not_read_a_huge_redirect(platform: FakePlatform, path: str) -> None:
    huge = {"Location": "/", "Content-Length": str(2**40)}
    platform.answers = [Answer(302, b" " * 9_000_000, huge)]
    assert str(failure_of(path)) == "MAX answered with status 302"


@READS
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404])
def test_a_refusal_is_final(platform: FakePlatform, path: str, status: int) -> None:
    platform.answers = [Answer(status, {"code": "x", "message": "Bad\x1b[31m thing"}, {"Location": platform.url})]
    error = failure_of(path)
    problem = f"the path {path} does not exist at {platform.url[7:]}:" if status == 404 else "MAX answered with"
    assert str(error) == f"{problem} status {status}: Bad[31m thing"
    assert error.is_refused
    assert len(platform.asked) == 1


@READS
def test_a_server_error_is_not_tried_again(platform: FakePlatform, path: str) -> None:
    platform.answers = [Answer(500)]
    error = failure_of(path)
    assert str(error) == "MAX answered with status 500"
    assert not error.is_refused
    assert len(platform.asked) == 1


@pytest.mark.long
@READS
@pytest.mark.parametrize("answer", [Answer(502), Answer(503), Answer(504), Answer(hangs_up=True)], ids=str)
def test_a_gateway_error_is_tried_again(platform: FakePlatform, path: str, answer: Answer) -> None:
    platform.answers = [answer]
    CALLERS[path]()
    assert len(platform.asked) == 2
    platform.answers = [answer] * 9
    assert not failure_of(path).is_refused
    assert len(platform.asked) == 5


@WRITES
@pytest.mark.parametrize(
    "answer",
    [
        *(Answer(status, headers=headers) for status in (502, 503, 504) for headers in ({}, {"Retry-After": "1"})),
        Answer(hangs_up=True),
    ],
    ids=range(7),
)
def test_a_write_is_not_sent_twice(platform: FakePlatform, write: Callable[[], object], answer: Answer) -> None:
    platform.answers = [answer]
    with pytest.raises(MaxError):
        write()
    assert len(platform.asked) == 1


def test_a_timeout_while_sending_is_a_timeout(settings: Settings) -> None:
    settings.MAX_API_TIMEOUT = timedelta(seconds=0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.MAX_API_URL, settings.MAX_BOT_TOKEN = f"http://127.0.0.1:{server.getsockname()[1]}", "bot-token"
        with pytest.raises(MaxError, match="did not answer in time") as caught:
            client.call("POST", "/x", dict, deadline=client.new_deadline(), json={"x": "y" * 20_000_000})
    assert caught.value.is_timeout


@pytest.mark.long
@READS
def test_a_429_is_waited_out(platform: FakePlatform, path: str) -> None:
    platform.answers = [Answer(429, headers={"Retry-After": "1"})]
    started = time.monotonic()
    CALLERS[path]()
    assert time.monotonic() - started >= 1
    assert len(platform.asked) == 2


@pytest.mark.long
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}], ids=["none", "a date"])
def test_a_429_without_seconds_is_one_second(platform: FakePlatform, headers: dict[str, str]) -> None:
    platform.sends_to(URL)
    platform.answers = [Answer(429, headers=headers)]
    started = time.monotonic()
    unsubscribe(URL)
    assert time.monotonic() - started >= 1
    assert [asked.method for asked in platform.asked] == ["DELETE", "DELETE"]


@READS
def test_a_429_is_not_waited_out_beyond_the_deadline(platform: FakePlatform, path: str) -> None:
    platform.answers = [Answer(429, {"message": "Too many requests"}, {"Retry-After": "60"})]
    started = time.monotonic()
    error = failure_of(path)
    assert time.monotonic() - started < LATE
    assert str(error) == "MAX answered with status 429: Too many requests"
    assert (error.retry_after, error.is_refused) == (60, False)


@pytest.mark.long
def test_it_gives_up_on_a_max_that_stays_busy(platform: FakePlatform) -> None:
    platform.answers = [Answer(429)] * 9
    with pytest.raises(MaxError, match="status 429"):
        unsubscribe(URL)
    assert len(platform.asked) == 3


@WRITES
@pytest.mark.parametrize("message", ["Limit reached", None])
def test_a_write_may_be_refused(platform: FakePlatform, write: Callable[[], object], message: str | None) -> None:
    platform.answers = [Answer(200, {"success": False, "message": message, "code": "limit"})]
    with pytest.raises(MaxError, match=f"^MAX refused the request{': Limit reached' if message else ''}$") as caught:
        write()
    assert caught.value.is_refused


@READS
def test_it_reports_a_refused_connection(platform: FakePlatform, settings: Settings, path: str) -> None:
    settings.MAX_API_URL = "http://user:password@127.0.0.1:1"
    error = failure_of(path)
    assert str(error) == "MAX at 127.0.0.1:1 cannot be reached"
    assert not error.is_refused


@READS
def test_it_calls_nobody_without_a_token(platform: FakePlatform, settings: Settings, path: str) -> None:
    settings.MAX_BOT_TOKEN = ""
    error = failure_of(path)
    assert str(error) == "cannot call MAX: MAX_BOT_TOKEN is not set"
    assert error.is_refused
    assert not platform.asked


@READS
def test_it_sends_the_token_whatever_netrc_has(
    platform: FakePlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    CALLERS[path]()


@READS
@pytest.mark.parametrize("token", ["два", " spaced\n"])
def test_it_does_not_quote_a_bad_token(platform: FakePlatform, settings: Settings, path: str, token: str) -> None:
    settings.MAX_BOT_TOKEN = token
    error = failure_of(path)
    assert "check MAX_API_URL, MAX_BOT_TOKEN and MAX_API_CA_BUNDLE" in str(error)
    assert error.is_refused
    assert token.strip() not in f"{error} {error.message} {error!r}"
    # A traceback in the log prints neither: their texts quote the header.
    assert (error.__cause__, error.__suppress_context__) == (None, True)


@WRITES
def test_it_hides_a_secret_that_max_quotes(platform: FakePlatform, write: Callable[[], object]) -> None:
    platform.answers = [Answer(400, {"message": f"bad secret {SECRETS[0]}, {SECRETS[1]} for {TOKEN}"})]
    with pytest.raises(MaxError, match=r"bad secret \*\*\*, \*\*\* for \*\*\*$"):
        write()


def test_it_hides_the_query_of_a_path(platform: FakePlatform, settings: Settings) -> None:
    settings.MAX_API_USERS_PATH = "/users?key=hidden"
    platform.answers = [Answer(404)]
    assert "the path /users does not exist" in str(failure_of("/internal/users"))


@pytest.mark.long
@READS
def test_it_checks_the_certificate_against_the_bundle(
    platform: FakePlatform, settings: Settings, certificate: tuple[str, str], path: str
) -> None:
    with fake_platform(certificate) as secure:
        settings.MAX_API_URL = secure.url
        assert str(failure_of(path)).startswith(f"TLS to {secure.url[8:]} failed: set MAX_API_CA_BUNDLE")
        settings.MAX_API_CA_BUNDLE = certificate[0]
        CALLERS[path]()
        patience, settings.MAX_API_TIMEOUT = settings.MAX_API_TIMEOUT, SOON
        secure.answers = [Answer(body=NOTHING, headers={"X-Long": " " * 150}, head_drip=DRIP)]
        assert failure_of(path).is_timeout
        settings.MAX_API_TIMEOUT = patience
        settings.MAX_API_CA_BUNDLE = f"{certificate[0]}.absent"
        assert "check MAX_API_URL, MAX_BOT_TOKEN and MAX_API_CA_BUNDLE" in str(failure_of(path))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl is not installed: no certificate can be made")
    folder = tmp_path_factory.mktemp("tls")
    key, made = str(folder / "key.pem"), str(folder / "certificate.pem")
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=MAX"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made]
    subprocess.run([openssl, *new.split(), *names], check=True, capture_output=True)  # noqa: S603
    return made, key


@READS
def test_it_keeps_its_connection(settings: Settings, path: str) -> None:
    settings.MAX_BOT_TOKEN = TOKEN
    with serving(lambda asked, authorization: Answer(body=NOTHING), keeps_alive=True) as server:
        settings.MAX_API_URL = server.url
        for _ in range(3):
            CALLERS[path]()
        assert server.connections == 1


def test_an_error_is_english_in_logs_and_translated_for_people() -> None:
    error = MaxError("MAX answered with status %(status)s%(detail)s", status=502, detail=": 100 % full")
    with translation.override("ru"):
        assert str(error) == "MAX answered with status 502: 100 % full"
        assert str(error.message) == "MAX ответил кодом 502: 100 % full"
    # Celery hands it from process to process.
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301
