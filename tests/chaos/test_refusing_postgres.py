"""A PostgreSQL that refuses writes or connections: what writes gets 503 in time, and all is well 5 seconds later."""

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from signal import SIGKILL
from typing import Any

import psycopg
import pytest

from tests.chaos.system import System
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import post

_RECOVERY = 5.0
_BOUND = 10.0
_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname <> '' AND pid <> ALL(%s)"
_phones = itertools.count(79160000000)

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow"), pytest.mark.timeout(180)]

Fault = Callable[[System], Any]


class Directory:
    def __init__(self, system: System) -> None:
        self.system, self.token = system, ""
        login = {"username": "admin", "password": system.environment["DJANGO_SUPERUSER_PASSWORD"]}
        self.token = json.loads(self.request("POST", "/api/token", login)[1])["access"]

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Return the status and the body of an answer, which must arrive in time."""
        client = HTTPConnection("127.0.0.1", self.system.port, timeout=_BOUND)
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        client.request(method, path, json.dumps(body) if body else None, headers)
        response = client.getresponse()
        answer = response.status, response.read()
        client.close()
        if response.status == 503:
            assert response.headers["Retry-After"]
        return answer

    def create(self) -> int:
        body = {"phone": f"+{next(_phones)}", "first_name": "А", "last_name": "Б", "university_name": "Хаос"}
        return self.request("POST", "/employees", body)[0]

    def statuses(self) -> tuple[int | str, ...]:
        """Return the statuses of a create, an update, a report and /ready."""
        update = post(self.system, random_bodies(1)[0]).answer
        return self.create(), update, self.request("GET", "/employees")[0], self.request("GET", "/ready")[0]


def administrator(system: System) -> psycopg.Connection:
    url, writes = system.service("DATABASE_URL"), "-c default_transaction_read_only=off"
    return psycopg.connect(url, autocommit=True, connect_timeout=5, options=writes)


@contextmanager
def setting(alter: str, system: System) -> Iterator[None]:
    """Set default_transaction_read_only, with connections that are opened meanwhile."""
    reset = f"{alter} RESET default_transaction_read_only"
    with administrator(system) as admin:
        admin.execute(f"{alter} SET default_transaction_read_only = on")
        admin.execute("SELECT pg_reload_conf()")
        admin.execute(_TERMINATE, [[admin.info.backend_pid]])
    try:
        yield
    finally:
        with administrator(system) as admin:
            admin.execute(reset)
            admin.execute("SELECT pg_reload_conf()")


@contextmanager
def standby(system: System) -> Iterator[None]:
    """Have PostgreSQL start as a standby, which is promoted at the end."""
    (system.data_dir / "postgres" / "standby.signal").touch()
    pid = int((system.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, SIGKILL)
    _await_standby(system)
    yield
    with administrator(system) as admin:
        admin.execute("SELECT pg_promote()")


def _await_standby(system: System) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(psycopg.Error), system.database() as database:
            row = database.execute("SELECT pg_is_in_recovery()").fetchone()
            if row == (True,):
                return
        time.sleep(0.1)
    raise AssertionError("PostgreSQL did not start as a standby")


@contextmanager
def without_connections(system: System) -> Iterator[None]:
    """Terminate all connections and take every one that is free, as soon as it is."""
    with ExitStack() as stack:
        admin = stack.enter_context(administrator(system))
        taken = {admin.info.backend_pid}
        for _ in range(20):
            admin.execute(_TERMINATE, [list(taken)])
            with suppress(psycopg.OperationalError):
                while True:
                    connection = stack.enter_context(administrator(system))
                    taken.add(connection.info.backend_pid)
        yield


FAULTS: dict[str, tuple[Fault, tuple[int, ...]]] = {
    "read-only by the configuration": (partial(setting, "ALTER SYSTEM"), (503, 503, 200, 503)),
    "read-only role": (partial(setting, "ALTER ROLE postgres"), (503, 503, 200, 503)),
    "standby": (standby, (503, 503, 200, 503)),
    "out of connections": (without_connections, (503, 503, 503, 503)),
}


@pytest.mark.alone
@pytest.mark.parametrize("name", FAULTS)
def test_it_refuses_in_time_and_recovers(system: System, name: str) -> None:
    fault, expected = FAULTS[name]
    directory = Directory(system)
    assert directory.statuses() == (201, 200, 200, 200)
    with fault(system):
        time.sleep(1.5)
        for _ in range(3):
            assert directory.statuses() == expected
    ended = time.monotonic()
    while directory.statuses() != (201, 200, 200, 200):
        assert time.monotonic() < ended + _RECOVERY
    # Every thread and process: a connection that remembers the fault would answer one of them with 503.
    for _ in range(20):
        assert directory.statuses() == (201, 200, 200, 200)
