"""One deadline for an outgoing connection, even if the resolver or one of the host's addresses does not answer."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import requests
from django.core.mail import DNS_NAME, EmailMessage

from config.lib import outgoing
from tests.loopback import Answer, serving
from tests.waiting import PATIENCE, seconds_until, within

HOST = "directory.example.ru"
Lookup = Callable[..., list[tuple[Any, ...]]]
getaddrinfo = socket.getaddrinfo


def resolve_with(monkeypatch: pytest.MonkeyPatch, lookup: Lookup) -> None:
    """Let ``lookup`` answer for HOST and hosts under it, and the system for all others."""

    def look_up(host: str, port: int, **options: Any) -> list[tuple[Any, ...]]:
        return lookup(host, port) if host.endswith(HOST) else getaddrinfo(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def hung_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    asked: list[str] = []
    is_over = threading.Event()

    def hang(host: str, port: int) -> list[tuple[Any, ...]]:
        asked.append(host)
        is_over.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    resolve_with(monkeypatch, hang)
    yield asked
    is_over.set()
    while any(thread.name == "lookup" for thread in threading.enumerate()):
        time.sleep(0.01)


def get(url: str, seconds: float) -> int:
    with outgoing.Session() as session, session.get(url, timeout=outgoing.within(seconds), stream=True) as response:
        return response.status_code


def test_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda *_: Answer(204)) as server:
        resolve_with(monkeypatch, lambda host, port: getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM))
        assert get(f"http://{HOST}:{server.server_port}/", PATIENCE) == 204


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_resolver_that_hangs(hung_resolver: list[str], scheme: str) -> None:
    with within(30), pytest.raises(requests.ConnectTimeout):
        get(f"{scheme}://{HOST}/", 0.4)
    seconds_until(lambda: hung_resolver)
    assert hung_resolver == [HOST]


def test_hung_lookups_are_limited(hung_resolver: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "_lookups", threading.BoundedSemaphore(2))
    with within(30):
        for number in range(4):
            with pytest.raises(TimeoutError):
                outgoing.addresses_of(f"{number}.{HOST}", 80, time.monotonic() + 0.1)
    seconds_until(lambda: len(hung_resolver) > 1)
    assert sorted(hung_resolver) == [f"0.{HOST}", f"1.{HOST}"]


def test_it_resolves_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "_lookups", threading.BoundedSemaphore(1))

    def refuse(host: str, port: int) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    resolve_with(monkeypatch, refuse)
    for host in (HOST, f"{'a' * 64}.{HOST}"):
        with pytest.raises(requests.ConnectionError):
            get(f"http://{HOST}/", PATIENCE)
        with pytest.raises(socket.gaierror):
            outgoing.addresses_of(host, 80, time.monotonic() + PATIENCE)


@pytest.mark.parametrize("bad_name", ["a" * 64 + ".ru", "a..ru"])
def test_a_name_that_cannot_be_encoded_is_unknown(bad_name: str) -> None:
    with pytest.raises(socket.gaierror):
        outgoing.addresses_of(bad_name, 80, time.monotonic() + PATIENCE)


@pytest.mark.long
def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    # A listener whose queue is full does not answer, as behind a firewall.
    with closing(socket.socket()) as deaf, closing(socket.socket()) as first, closing(socket.socket()) as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        time.sleep(0.1)
        with serving(lambda *_: Answer(204)) as server:
            stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            silent, serving_one = (*stream, deaf.getsockname()), (*stream, ("127.0.0.1", server.server_port))
            resolve_with(monkeypatch, lambda host, port: [silent, *[serving_one] * 59])
            started = time.monotonic()
            # The first of sixty addresses takes a sixtieth of the time, and not all of it.
            outgoing.connect(HOST, 80, time.monotonic() + 60).close()
            assert time.monotonic() - started > 0.9
            resolve_with(monkeypatch, lambda host, port: [silent] * 5)
            with within(30), pytest.raises(TimeoutError):
                outgoing.connect(HOST, 80, time.monotonic() + 0.5)


def test_a_kernel_without_ipv6_uses_the_other_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is connected for such an address: socket() itself fails."""
    unsupported = next(family for family in range(100, 200) if not _has(family))
    none = (unsupported, socket.SOCK_STREAM, 6, "", ("::1", 80, 0, 0))
    with serving(lambda *_: Answer(204)) as server:
        other = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.server_port))
        resolve_with(monkeypatch, lambda host, port: [none, other])
        assert get(f"http://{HOST}/", PATIENCE) == 204
    resolve_with(monkeypatch, lambda host, port: [none])
    with pytest.raises(OSError, match="not supported"):
        outgoing.connect(HOST, 80, time.monotonic() + PATIENCE)


@pytest.fixture
def forgotten_name(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the process send its first e-mail: Django keeps the host's name after that."""
    monkeypatch.delattr(DNS_NAME, "_fqdn", raising=False)
    monkeypatch.setattr(outgoing.EmailBackend, "_own_name", None)
    monkeypatch.setattr(outgoing.EmailBackend, "_asks_again_at", 0.0)
    yield
    DNS_NAME.__dict__.pop("_fqdn", None)


def message_id() -> str:
    """Return the Message-ID of an e-mail that cannot be sent, because nothing listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        outgoing.EmailBackend(host="127.0.0.1", port=port, timeout=PATIENCE).open()
    return str(EmailMessage("x", "y", to=["x@example.ru"]).message()["Message-ID"])


@pytest.mark.usefixtures("forgotten_name")
def test_the_hosts_own_name_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    monkeypatch.setattr(outgoing, "_OWN_NAME_SECONDS", 0.2)
    monkeypatch.setattr(outgoing, "_OWN_NAME_PAUSE_SECONDS", 600.0)
    monkeypatch.setattr(socket, "gethostbyaddr", lambda _: is_over.wait(PATIENCE) and ("late.example.ru", [], []))
    with within(30):
        assert message_id().endswith(f"@{socket.gethostname()}>")
    is_over.set()
    monkeypatch.setattr(outgoing, "_OWN_NAME_SECONDS", PATIENCE)
    assert message_id().endswith(f"@{socket.gethostname()}>"), "it asks once a minute"
    monkeypatch.setattr(outgoing.EmailBackend, "_asks_again_at", 0.0)
    assert message_id().endswith("@late.example.ru>"), "it asks again, as long as the resolver has not answered"
    monkeypatch.setattr(socket, "gethostbyaddr", lambda _: ("other.example.ru", [], []))
    assert message_id().endswith("@late.example.ru>")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("directory.example.ru", ["directory"], []), "directory.example.ru"),
        (("directory", ["directory.example.ru"], []), "directory.example.ru"),
        (("directory", [], []), "directory"),
        (socket.herror("no such host"), None),
        (socket.gaierror("no answer"), None),
    ],
)
def test_the_hosts_own_name(monkeypatch: pytest.MonkeyPatch, answer: Any, expected: str | None) -> None:
    def look_up(_host: str) -> Any:
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(socket, "gethostbyaddr", look_up)
    assert outgoing.own_name(time.monotonic() + PATIENCE) == expected


def _has(family: int) -> bool:
    try:
        socket.socket(family).close()
    except OSError:
        return False
    return True
