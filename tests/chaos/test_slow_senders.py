"""Senders that stop in the middle: they hold a thread of the web server each, and may hold up nobody else."""

import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.chaos.sending import post
from tests.chaos.story import tell
from tests.chaos.system import System

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
def test_good_updates_pass_them(system: System, connections: ExitStack, start, path: str) -> None:
    for _ in range(_SENDERS):
        connection = connections.enter_context(socket.create_connection(("127.0.0.1", system.port)))
        connection.sendall(start(system, path))
    time.sleep(0.5)
    for body in tell(random.Random(), 20).bodies:
        outcome = post(system, body)
        assert outcome.answer == 200
        assert outcome.seconds < 1
    probe = connections.enter_context(socket.create_connection(("127.0.0.1", system.port)))
    probe.settimeout(2)
    probe.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b" 200 " in probe.recv(100)
