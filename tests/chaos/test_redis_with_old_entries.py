"""A running system whose Redis restarts from an old snapshot, hangs or refuses writes, read all the time meanwhile.

After the response to an erasure or a change, no process may serve the old name again. Every read must end in time, and
all is well within seconds after the fault.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import psycopg
import pytest
import redis
from psycopg import sql

from config.dev import embedded
from tests.chaos.system import System
from tests.redis_refusals import REFUSALS
from tests.waiting import seconds_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]

OLD, NEW = "Аполлинария", "Пелагея"
# PROFILE_CACHE_TIMEOUT and what the contract allows for the rest; /health and /ready within a second.
PROFILE_SECONDS, READY_SECONDS = 3.3, 1.0
_numbers = count(1000)
_TERMINATE = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"


@dataclass
class Api:
    system: System
    token: str = ""

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.system.port, timeout=15)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        finally:
            connection.close()

    def log_in(self) -> None:
        login = {"username": "admin", "password": self.system.environment["DJANGO_SUPERUSER_PASSWORD"]}
        status, answer = self.request("POST", "/api/token", login)
        assert status == 200
        self.token = answer["access"]

    def ready(self) -> dict[str, Any]:
        status, answer = self.request("GET", "/ready")
        assert status == 200
        return dict(answer)

    def alerts(self) -> dict[str, str]:
        status, answer = self.request("GET", "/monitoring/alerts")
        assert status == 200
        return {alert["alert_type"]: alert["severity"] for alert in answer["results"] if alert["status"] == "firing"}


@dataclass
class Reader:
    """Reads two people and /ready in threads, each request over its own connection, so that every process is asked."""

    api: Api
    erased: str
    renamed: str
    is_changed: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)
    wrong: list[str] = field(default_factory=list)
    slow: list[tuple[str, float]] = field(default_factory=list)
    reads: int = 0

    def __enter__(self) -> "Reader":
        paths = [f"/profiles/{self.erased}", f"/profiles/{self.renamed}"] * 2 + ["/ready"]
        self.threads = [threading.Thread(target=self._read, args=[path], daemon=True) for path in paths]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _read(self, path: str) -> None:
        limit = READY_SECONDS if path == "/ready" else PROFILE_SECONDS
        while not self.stopping.is_set():
            was_changed, started = self.is_changed.is_set(), time.monotonic()
            try:
                status, answer = self.api.request("GET", path)
            except (OSError, HTTPException, ValueError) as error:
                self.wrong.append(f"{path}: {type(error).__name__}")
                continue
            took = time.monotonic() - started
            self.reads += 1
            if took > limit:
                self.slow.append((path, took))
            if status != 200 or (was_changed and OLD in str(answer)):
                self.wrong.append(f"{path}: {status} {answer}")


@pytest.fixture(scope="module")
def own_system() -> Iterator[System]:
    system = System(DEBUG="true", MONITORING_CHECK_INTERVAL="3s")
    try:
        system.start()
        yield system
    finally:
        assert system.stop() == []


@pytest.fixture
def api(own_system: System) -> Api:
    api = Api(own_system)
    api.log_in()
    seconds_until(lambda: api.ready()["status"] == "ok")
    return api


def add_people(api: Api) -> tuple[str, str]:
    """Store two profiles with the old name, and wait until Redis serves them; return their IDs."""
    people = (str(next(_numbers)), str(next(_numbers)))
    for user_id in people:
        assert api.request("PUT", f"/profiles/{user_id}", {"max_first_name": OLD, "max_last_name": ""})[0] == 200
    with api.system.cache() as client:
        seconds_until(lambda: client.exists(*(f"profile:user:{user_id}" for user_id in people)) == 2)
    return people


def change(reader: Reader) -> None:
    assert reader.api.request("DELETE", f"/profiles/{reader.erased}")[0] == 204
    assert reader.api.request("PUT", f"/profiles/{reader.renamed}", {"max_first_name": NEW})[0] == 200
    reader.is_changed.set()


def is_well(reader: Reader, client: redis.Redis) -> bool:
    """Return whether Redis has the new state and is used again."""
    with suppress(redis.RedisError):
        text = client.get(f"profile:user:{reader.renamed}") or b""
        assert isinstance(text, bytes)
        info = client.info("server")
        is_current = client.get("profiles:generation") == info["run_id"].encode()
        return NEW in text.decode() and is_current and not client.exists(f"profile:user:{reader.erased}")
    return False


def check(reader: Reader) -> None:
    assert reader.wrong == []
    assert reader.slow == []
    assert reader.reads > 50
    for user_id, name in ((reader.erased, "Неизвестно"), (reader.renamed, NEW)):
        body = {"phone": f"+7916555{int(user_id):04}", "max_id": user_id, "university_name": "Хаос"}
        status, answer = reader.api.request("POST", "/employees", body)
        assert (status, answer["first_name"]) == (201, name)


@pytest.mark.timeout(240)
def test_kill_9_and_an_old_snapshot(api: Api) -> None:
    system = api.system
    with system.cache() as client, Reader(api, *add_people(api)) as reader:
        client.save()
        change(reader)
        system.send("cache", SIGKILL)
        seconds_until(lambda: bool(system.pids("cache")))
        assert seconds_until(lambda: is_well(reader, client)) < 5
        assert api.ready()["status"] == "ok"
        time.sleep(1)
    check(reader)


@pytest.mark.timeout(240)
def test_a_frozen_server(api: Api) -> None:
    system = api.system
    with system.cache() as client, Reader(api, *add_people(api)) as reader:
        time.sleep(0.5)
        system.send("cache", SIGSTOP)
        try:
            change(reader)
            seconds_until(lambda: api.ready()["status"] == "degraded")
        finally:
            system.send("cache", SIGCONT)
        assert seconds_until(lambda: api.ready()["status"] == "ok") < 5
        time.sleep(3)
    check(reader)
    with system.cache() as client:
        assert NEW in (client.get(f"profile:user:{reader.renamed}") or b"").decode()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_refused_writes(api: Api, refusal: str) -> None:
    refuse, reason = REFUSALS[refusal]
    with api.system.cache() as client, Reader(api, *add_people(api)) as reader:
        time.sleep(0.5)
        with refuse(client):
            change(reader)
            seconds_until(lambda: api.ready()["status"] == "degraded")
            for _ in range(10):
                assert api.ready()["reason"] == f"Redis: {reason}"
            seconds_until(lambda: api.alerts().get("cache_connection_failed") == "critical", 30)
        assert seconds_until(lambda: api.ready()["status"] == "ok") < 5
        time.sleep(3)
    check(reader)


@pytest.mark.timeout(240)
def test_a_restored_database(api: Api) -> None:
    """Swap the database with an earlier copy, as an operator's restore does, while everything runs."""
    system = api.system
    erased, renamed = add_people(api)
    copy_database(system, "directory", "backup")
    seconds_until(lambda: can(api.log_in), 30)
    assert api.request("DELETE", f"/profiles/{erased}")[0] == 204
    reason = {"reason": "a change after the backup"}
    assert api.request("POST", "/monitoring/rollout/pause", reason)[0] in (200, 201)
    time.sleep(5)
    copy_database(system, "directory", "lost")
    copy_database(system, "backup", "directory")
    seconds_until(lambda: can(api.log_in), 30)
    seconds_until(lambda: api.alerts().get("database_restored") == "critical", 60)
    assert renamed


def can(function: Callable[[], object]) -> bool:
    with suppress(AssertionError, OSError, HTTPException, ValueError):
        function()
        return True
    return False


def copy_database(system: System, source: str, target: str) -> None:
    """Copy a database over another one; end the sessions of both, and admit none meanwhile."""
    url = embedded.postgres_url(embedded.socket_path(system.data_dir), "postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        names = [name for (name,) in connection.execute("SELECT datname FROM pg_database") if name in (source, target)]
        for name in names:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
            )
        if target in names:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(target)))
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(statement.format(sql.Identifier(target), sql.Identifier(source)))
        for name in (source, target):
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))
