"""Clients that stop while they send a request or read its answer: they delay nobody, and are disconnected in time.

``make test-slow-senders`` does it with two thousand of them.
"""

import os
import random
import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles

import pytest

from config.web import UNREAD_SECONDS
from tests.bench.sustained import Sustained, send_steadily
from tests.chaos.system import System
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import post

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]

_SENDERS = int(os.environ.get("SLOW_SENDERS", "200"))
# For 99 of 100 updates at _RATE; other processes on the machine count too.
_P99_SECONDS = float(os.environ.get("SLOW_P99_MS", "2000")) / 1000
_RATE, _SECONDS = 300, 6
# For headers, and for a pause in a body (config.programs, config.rsgi.intake), and how late the server may be.
_DEADLINE, _LATE = 10, 5
# Until the server has accepted all connections, on a busy machine.
_ACCEPTED_SECONDS = 10
# Connections to PostgreSQL and Redis that are opened meanwhile.
_OTHER_FILES = 20
_MEMORY = 64 * 1024**2 + _SENDERS * 160 * 1024
_HEADERS = "Host: 127.0.0.1\r\nContent-Type: application/json\r\n"


def half_sent(system: System, path: str) -> bytes:
    secret = f"X-Max-Bot-Api-Secret: {system.secret}\r\n"
    return f'POST {path} HTTP/1.1\r\n{_HEADERS}{secret}Content-Length: 1000\r\n\r\n{{"update_type":'.encode()


def unfinished_headers(system: System, path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\n{_HEADERS}".encode()


def unread_answer(system: System, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


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


def memory(system: System) -> int:
    """Return the bytes that the web server's processes have in memory."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in system.pids("web"))
    return pages * resource.getpagesize()


def files(system: System) -> int:
    """Return the number of open files, connections among them, of the web server's processes."""
    return sum(1 for pid in system.pids("web") for _ in Path(f"/proc/{pid}/fd").iterdir())


@pytest.fixture(scope="module")
def one_worker() -> Iterator[System]:
    system = System(DEBUG="true", WEB_WORKERS="1")
    try:
        system.start()
        yield system
    finally:
        system.stop()


def open_connections(system: System, connections: ExitStack) -> dict[str, list[socket.socket]]:
    """Open _SENDERS connections, a third of each kind, and let each stop in its own way."""
    kinds = {"headers": unfinished_headers, "body": half_sent, "answer": unread_answer}
    paths = {"headers": ["/webhook/max"], "body": ["/webhook/max", "/api/token"], "answer": ["/openapi.json"]}
    opened: dict[str, list[socket.socket]] = {kind: [] for kind in kinds}
    for number in range(_SENDERS):
        kind = list(kinds)[number % 3]
        connection = connections.enter_context(socket.socket())
        # Little of the answer fits into the buffer of a client that does not read.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", system.port))
        path = paths[kind][number // 3 % len(paths[kind])]
        connection.sendall(kinds[kind](system, path))
        opened[kind].append(connection)
    return opened


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed the connection, without reading from it."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def test_many_at_once_neither_delay_others_nor_stay(one_worker: System, connections: ExitStack) -> None:
    system, before = one_worker, memory(one_worker)
    token, files_before = system.token(), files(system)
    started = time.monotonic()
    opened = open_connections(system, connections)
    while files(system) < files_before + _SENDERS:
        assert time.monotonic() - started < _ACCEPTED_SECONDS
        time.sleep(0.05)
    sent = Sustained()
    send_steadily(system.port, system.secret, sent, rate=_RATE, seconds=_SECONDS)
    assert set(sent.statuses) == {200}
    assert quantiles(sent.latencies, n=100)[98] < _P99_SECONDS
    body = new_employee()
    assert b" 201 " in create(system, f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}", body)
    assert memory(system) - before < _MEMORY
    for kind in ("headers", "body"):
        while not all(map(is_closed, opened[kind])):
            assert time.monotonic() - started < _DEADLINE + _LATE + _SECONDS, kind
            time.sleep(0.1)
    # The kernel drops an unread connection without a word to the client.
    while files(system) > files_before + _OTHER_FILES:
        assert time.monotonic() - started < UNREAD_SECONDS + _LATE + _SECONDS
        time.sleep(0.1)
    assert {connection.recv(100).split()[1] for connection in opened["body"]} == {b"408"}


def new_employee() -> bytes:
    phone = f"+7{random.randrange(9 * 10**9, 10**10)}"
    return f'{{"phone": "{phone}", "first_name": "A", "last_name": "B", "university_name": "C"}}'.encode()


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
    body = new_employee()
    chunked = b"".join(b"1\r\n" + body[n : n + 1] + b"\r\n" for n in range(len(body))) + b"0\r\n\r\n"
    assert b" 201 " in create(system, f"{token}Transfer-Encoding: chunked", chunked)
    assert b" 409 " in create(system, f"{token}Content-Length: {len(body)}", body)
    assert b" 400 " in create(system, f"{token}Content-Length: 0")
