"""Measures POST /employees against a bare create.

``python -m tests.servers python -m tests.bench.employees [--traces] [seconds]``. Phase 3 is at 100%, and Redis has
every profile. With --traces, a second server with traces takes its turn in each round.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from tests.bench.rows import migrate

# isort: split
from django.conf import settings
from django.contrib.auth.models import User
from rest_framework_simplejwt.state import token_backend
from waffle import get_waffle_flag_model

from employees.credentials.models import LogIn
from employees.credentials.tokens import access_token
from employees.models import Employee, University
from profiles import cache
from profiles.rollout.phases import PHASES
from tests.collector import collecting
from tests.profiles.people import add_profile

LEAST_SHARE = 0.9
# Production mode: in development Django keeps every query in memory.
PRODUCTION = {
    "DEBUG": "false",
    "SECRET_KEY": settings.SECRET_KEY,
    "WEBHOOK_SECRET": "secret-of-the-measurement",
    "ALLOWED_HOSTS": "localhost",
    "API_RATE_LIMIT": "0",
}
THREADS = 8
PEOPLE = 1000
ROUNDS = 3
HAS_TRACES = "--traces" in sys.argv
SECONDS = next((float(word) for word in sys.argv[1:] if word != "--traces"), 4.0)


@dataclass
class Client:
    """Posts over several connections, each as fast as it is answered."""

    port: int
    path: str
    body: Callable[[int], dict[str, object]]
    token: str
    took: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def work(self, first: int, until: float) -> None:
        number = first
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            while time.monotonic() < until:
                started = time.perf_counter()
                connection.sendall(self.request(number))
                status = answer_of(connection)
                self.took.append(time.perf_counter() - started)
                self.statuses[status] = self.statuses.get(status, 0) + 1
                number += 1

    def request(self, number: int) -> bytes:
        body = json.dumps(self.body(number)).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def rate(self, start: int, seconds: float) -> float:
        before, until = len(self.took), time.monotonic() + seconds
        threads = [
            threading.Thread(target=self.work, args=[start + number * 1_000_000, until]) for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (len(self.took) - before) / seconds


def answer_of(connection: socket.socket) -> int:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split(b" ", 2)[1])


def serve(application: str, port: int, **environment: str) -> "subprocess.Popen[bytes]":
    command = "granian --interface wsgi --http 1 --workers 1 --blocking-threads 4 --log-level error"
    command += f" --host 127.0.0.1 --port {port}"
    server = subprocess.Popen(  # noqa: S603 (our own command)
        [sys.executable, "-m", *command.split(), application], env=os.environ | PRODUCTION | environment
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return server
    raise SystemExit(f"{application} did not start")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_token() -> str:
    """Return an access token of a new superuser, for the servers: those of development are refused in production."""
    token_backend.audience = "production"
    return str(access_token(LogIn.objects.start(User.objects.create_superuser("bench"), has_second_factor=True)))


def main() -> None:
    migrate()
    get_waffle_flag_model().objects.filter(name__in=PHASES[:3]).update(percent=100)
    university = University.objects.create(name="Университет")
    # No worker runs to begin it, and without a generation no process reads entries.
    cache.begin_generation()
    for number in range(PEOPLE):
        add_profile(str(number + 1))
    token = new_token()

    def bare(number: int) -> dict[str, object]:
        names = {"first_name": "Иван", "last_name": "Петров", "profile_source": "webhook"}
        return names | {"phone": f"+2{number:010}", "max_id": str(number % PEOPLE + 1), "university": university.pk}

    def ours(number: int, prefix: str = "+3") -> dict[str, object]:
        return {"phone": f"{prefix}{number:010}", "max_id": str(number % PEOPLE + 1), "university_id": university.pk}

    ports = [free_port() for _ in range(2 + HAS_TRACES)]
    with ExitStack() as stack:
        servers = [serve("tests.bench.bare_create:application", ports[0]), serve("config.wsgi:application", ports[1])]
        clients = [Client(ports[0], "/bare", bare, token), Client(ports[1], "/employees", ours, token)]
        if HAS_TRACES:
            url = stack.enter_context(collecting()).url
            servers.append(serve("config.wsgi:application", ports[2], OTEL_EXPORTER_OTLP_ENDPOINT=url))
            clients.append(Client(ports[2], "/employees", partial(ours, prefix="+4"), token))
        for server in servers:
            stack.callback(server.terminate)
        compare(clients)


def compare(clients: list[Client]) -> None:
    for client in clients:
        client.rate(900_000, 1.0)
        client.took.clear()
    rates = [[client.rate(turn * 100_000, SECONDS) for client in clients] for turn in range(ROUNDS)]
    for client, name in zip(clients, ("bare create", "POST /employees", "with traces"), strict=False):
        mine = statistics.median(pair[clients.index(client)] for pair in rates)
        p99 = statistics.quantiles(client.took, n=100)[98] * 1000
        sys.stdout.write(f"{name:16} {mine:7.0f}/s  p99 {p99:.1f} ms  statuses {client.statuses}\n")
    share = statistics.median(pair[1] / pair[0] for pair in rates)
    if HAS_TRACES:
        sys.stdout.write(f"with traces, by without: {statistics.median(pair[2] / pair[1] for pair in rates):.2f}\n")
    sources = set(Employee.objects.filter(phone__startswith="+3").values_list("profile_source", flat=True).distinct())
    sys.stdout.write(f"share {share:.2f} (at least {LEAST_SHARE}), sources {sources}\n")
    sys.exit(not (share >= LEAST_SHARE and sources == {"webhook"} and set(clients[1].statuses) == {201}))


if __name__ == "__main__":
    main()
