"""Headers that WSGI cannot distinguish from those of our proxy, sent to the web server itself."""

import json
import socket
import time
import uuid

import pytest

from tests.chaos.system import System

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]


def address_of(system: System, path: str, *headers: str) -> str:
    """Send a request that is refused, and return the client's address in the log line about it."""
    request_id = uuid.uuid4().hex
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 2", f"X-Request-ID: {request_id}", *headers]
    with socket.create_connection(("127.0.0.1", system.port), timeout=5) as connection:
        connection.sendall("\r\n".join([*lines, "", "{}"]).encode())
        assert b" 401 " in connection.recv(4096).partition(b"\r\n")[0]
    deadline = time.monotonic() + 5
    while True:
        written = (system.data_dir / "logs" / "web.log").read_text().splitlines()
        for line in (json.loads(line) for line in written if request_id in line):
            if line["event"] == "request_refused":
                return str(line["address"])
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("path", ["/employees", "/webhook/max", "/monitoring/rollout/pause"])
def test_an_underscore_does_not_replace_the_header_of_the_proxy(system: System, path: str) -> None:
    proxy = "X-Forwarded-For: 203.0.113.7"
    assert address_of(system, path, proxy) == "203.0.113.7"
    for forged in ("X_Forwarded_For: 6.6.6.6", "X_FORWARDED_FOR: 6.6.6.6", "X-Forwarded_For: 6.6.6.6"):
        assert address_of(system, path, proxy, forged) == "203.0.113.7"
        assert address_of(system, path, forged, proxy) == "203.0.113.7"
        assert address_of(system, path, forged) == "127.0.0.1"


def test_a_repeated_header_is_one_list(system: System) -> None:
    client, proxy = "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.7"
    assert address_of(system, "/employees", client, proxy) == "203.0.113.7"
    assert address_of(system, "/webhook/max", client, proxy) == "203.0.113.7"


def status_and_headers(system: System, sent: bytes) -> tuple[int, str]:
    with socket.create_connection(("127.0.0.1", system.port), timeout=5) as connection:
        connection.sendall(sent)
        answer = connection.recv(4096).decode().partition("\r\n\r\n")[0]
    return int(answer.split()[1]), answer.lower()


def plain_request(path: str = "/health", *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    ("sent", "status", "has_request"),
    [
        (b"garbage\r\n\r\n", 400, False),
        (plain_request("/health", "Content-Length: abc"), 400, False),
        (plain_request("/" + "a" * 65_533), 404, True),
        (plain_request("/" + "a" * 65_534), 414, False),
        (plain_request("/health", *(f"X-{number}: 1" for number in range(98))), 200, True),
        (plain_request("/health", *(f"X-{number}: 1" for number in range(99))), 431, False),
        (plain_request("/health", f"X-Large: {'a' * 500_000}"), 431, False),
    ],
)
def test_what_never_becomes_a_request_has_no_id(system: System, sent: bytes, status: int, has_request: bool) -> None:
    """As docs/reference/http-api.md says: the HTTP server answers it before a request exists."""
    answered, headers = status_and_headers(system, sent)
    assert (answered, "x-request-id: " in headers) == (status, has_request)
