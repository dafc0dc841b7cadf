"""Senders that stop in the middle of a request each hold a thread of the web server, and must not delay others."""

import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.chaos.system import System
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import post

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]

# More than the 128 threads that do the work.
_SENDERS = 200
_HEADERS = "Host: 127.0.0.1\r\nContent-Type: application/json\r\n"


def half_sent(system: System, path: str) -> bytes:
    secret = f"X-Max-Bot-Api-Secret: {system.secret}\r\n"
    return f'POST {path} HTTP/1.1\r\n{_HEADERS}{secret}Content-Length: 1000\r\n\r\n{{"update_type":'.encode()


def unfinished_headers(system: System, path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\n{_HEADERS}".encode()


@pytest.fixture
def connections() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("start", "path"),
    [(half_sent, "/webhook/max"), (half_sent, "/api/token"), (unfinished_headers, "/webhook/max")],
)
def test_it_answers_others_at_once(system: System, connections: ExitStack, start, path: str) -> None:
    for _ in range(_SENDERS):
        connection = connections.enter_context(socket.create_connection(("127.0.0.1", system.port)))
        connection.sendall(start(system, path))
    time.sleep(0.5)
    for body in random_bodies(20):
        result = post(system, body)
        assert result.answer == 200
        assert result.seconds < 1
    probe = connections.enter_context(socket.create_connection(("127.0.0.1", system.port)))
    probe.settimeout(2)
    probe.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b" 200 " in probe.recv(100)


def create(system: System, head: str, body: bytes = b"") -> bytes:
    with socket.create_connection(("127.0.0.1", system.port), timeout=5) as connection:
        connection.sendall(f"POST /employees HTTP/1.1\r\n{_HEADERS}{head}\r\n\r\n".encode() + body)
        return connection.recv(4096).partition(b"\r\n")[0]


def test_it_refuses_a_large_body_by_header_and_by_count(system: System) -> None:
    assert b" 413 " in create(system, f"Content-Length: {17 * 1024 * 1024}")
    chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    assert b" 413 " in create(system, "Transfer-Encoding: chunked", chunk * 17)


def test_it_reads_chunked_and_plain_bodies(system: System) -> None:
    token = f"Authorization: Bearer {system.token()}\r\n"
    phone = f"+7{random.randrange(9 * 10**9, 10**10)}"
    body = f'{{"phone": "{phone}", "first_name": "A", "last_name": "B", "university_name": "C"}}'.encode()
    chunked = b"".join(b"1\r\n" + body[n : n + 1] + b"\r\n" for n in range(len(body))) + b"0\r\n\r\n"
    assert b" 201 " in create(system, f"{token}Transfer-Encoding: chunked", chunked)
    assert b" 409 " in create(system, f"{token}Content-Length: {len(body)}", body)
    assert b" 400 " in create(system, f"{token}Content-Length: 0")
