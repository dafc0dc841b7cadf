"""The whole system with a cache and a task queue that Sentinel watches, while primaries are killed; also over TLS."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import requests
from psycopg import sql

from config.dev import embedded
from config.dev.processes import Child
from config.dev.processes import stop as stop_children
from tests.chaos.system import System
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import Sender, post
from tests.stores.programs import SERVER, Certificate, issue
from tests.waiting import seconds_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow"), pytest.mark.timeout(400)]

PASSWORD, SENTINEL_PASSWORD = "s3cret", "0ther"
UPDATES = 1000
_DOWN_AFTER_MS = 1000


@dataclass
class Sentinels:
    """Two services, each a primary and a replica, and three sentinels; over TLS if there is a certificate."""

    folder: Path
    certificate: Certificate | None = None
    ports: list[int] = field(default_factory=lambda: [embedded.free_port() for _ in range(3)])
    servers: dict[int, Child] = field(default_factory=dict)
    sentinels: list[Child] = field(default_factory=list)

    def start(self) -> None:
        monitored = ""
        for service in ("Cache", "queue"):
            primary, replica = embedded.free_port(), embedded.free_port()
            self._start_server(primary, {})
            self._start_server(replica, {"replicaof": f"127.0.0.1 {primary}"})
            monitored += (
                f"sentinel monitor {service} 127.0.0.1 {primary} 2\nsentinel auth-pass {service} {PASSWORD}\n"
                f"sentinel down-after-milliseconds {service} {_DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {service} 5000\n"
            )
        binary = next(iter(self.servers.values())).argv[0]
        for port in self.ports:
            settings = self.folder / f"sentinel-{port}.conf"
            own = "".join(f"{name} {value}\n" for name, value in self._listens(port).items())
            settings.write_text(f"{own}bind 127.0.0.1\nrequirepass {SENTINEL_PASSWORD}\n{monitored}")
            argv = [binary, str(settings), "--sentinel", "--dir", str(self.folder)]
            child = Child("sentinel", argv, embedded.environment(self.folder), self.folder / f"sentinel-{port}.log")
            child.start()
            self.sentinels.append(child)
        seconds_until(lambda: self._is_watched("Cache") and self._is_watched("queue"), 30)

    def _listens(self, port: int) -> dict[str, str]:
        if self.certificate is None:
            return {"port": str(port)}
        return {"port": "0", "tls-port": str(port), "tls-replication": "yes", **self.certificate.options()}

    def _start_server(self, port: int, options: dict[str, str]) -> None:
        data = self.folder / str(port)
        base = {"bind": "127.0.0.1", "save": "", "requirepass": PASSWORD, "masterauth": PASSWORD, **self._listens(port)}
        child = embedded._valkey(data, base, embedded.environment(self.folder), self.folder / f"{port}.log")
        # The bundled Valkey has no TLS.
        binary = SERVER if self.certificate and SERVER else child.argv[0]
        child.argv = [
            binary,
            *child.argv[1:],
            *(word for name, value in options.items() for word in (f"--{name}", *value.split())),
        ]
        child.start()
        self.servers[port] = child

    def _is_watched(self, service: str) -> bool:
        """Return whether all sentinels know each other and the replica."""
        try:
            states: list[Any] = [self._ask(port).sentinel_master(service) for port in self.ports]
        except redis.RedisError:
            return False
        return all((state["num-other-sentinels"], state["num-slaves"]) == (2, 1) for state in states)

    def _ask(self, port: int) -> redis.Redis:
        return redis.Redis("127.0.0.1", port, password=SENTINEL_PASSWORD, decode_responses=True, **self.tls())

    def tls(self) -> dict[str, Any]:
        """Return the options of a client."""
        return {"ssl": True, "ssl_ca_certs": str(self.certificate.ca)} if self.certificate else {}

    def primary(self, service: str) -> int:
        address: Any = self._ask(self.ports[0]).sentinel_get_master_addr_by_name(service)
        return int(address[1])

    def kill_primary(self, service: str) -> int:
        port = self.primary(service)
        self.servers[port].kill()
        return port

    def url(self, service: str, database: int) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        scheme, ca = ("rediss", f"&ssl_ca_certs={self.certificate.ca}") if self.certificate else ("redis", "")
        login = f"?sentinel_password={SENTINEL_PASSWORD}"
        return f"{scheme}+sentinel://:{PASSWORD}@{hosts}/{service}/{database}{login}{ca}"

    def stop(self) -> None:
        stop_children([*self.sentinels, *self.servers.values()], seconds=3)


@pytest.fixture(scope="module", params=["without TLS", "over TLS"])
def sentinels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    folder = tmp_path_factory.mktemp("sentinels")
    started = Sentinels(folder)
    if request.param == "over TLS":
        if not SERVER:
            pytest.skip("no redis-server, and the bundled Valkey has no TLS")
        started.certificate = issue(folder)
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def system(sentinels: Sentinels) -> Iterator[System]:
    system = System(
        REDIS_URL=sentinels.url("Cache", 1), CELERY_BROKER_URL=sentinels.url("queue", 2), MONITORING_CHECK_INTERVAL="5s"
    )
    try:
        system.start()
        yield system
    finally:
        assert system.stop() == []


class Creates:
    """Create employees one after the other until the block ends."""

    def __init__(self, system: System) -> None:
        self.system, self.statuses, self.slowest = system, Counter[int | str](), 0.0
        self._token, self._stopping = system.token(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Creates":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _run(self) -> None:
        first = time.time_ns() // 1000 % 10**6 * 1000
        for number in range(100_000):
            if self._stopping.wait(0.05):
                return
            body = {"phone": f"+79{first + number:09}", "university_name": "Страж"}
            started = time.monotonic()
            answer = requests.post(
                f"http://127.0.0.1:{self.system.port}/employees", json=body, timeout=20,
                headers={"Authorization": f"Bearer {self._token}"},
            )  # fmt: skip
            self.statuses[answer.status_code] += 1
            self.slowest = max(self.slowest, time.monotonic() - started)


def cache_of(sentinels: Sentinels) -> redis.Redis:
    return redis.Redis("127.0.0.1", sentinels.primary("Cache"), password=PASSWORD, db=1, **sentinels.tls())


def count(database: psycopg.Connection, table: str) -> int:
    row = database.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    assert row
    return int(row[0])


def cached(sentinels: Sentinels) -> int:
    with closing(cache_of(sentinels)) as client:
        try:
            return sum(1 for _ in client.scan_iter("profile:user:*", 1000))
        except redis.RedisError:
            return -1


def test_after_a_failover_the_cache_is_complete(system: System, sentinels: Sentinels) -> None:
    with closing(Sender(system)) as sender, system.database() as database:
        before = count(database, "webhook_inbox")
        assert {sender.post(body).answer for body in random_bodies(UPDATES)} == {200}
        drained = "SELECT NOT EXISTS (SELECT FROM webhook_inbox WHERE state = 'pending')"
        seconds_until(lambda: database.execute(drained).fetchone() == (True,), 60)
        expected = count(database, "profile_cache")
        seconds_until(lambda: cached(sentinels) == expected, 60)
        with Creates(system) as creates:
            time.sleep(1)
            killed = sentinels.kill_primary("Cache")
            failed_over = seconds_until(lambda: sentinels.primary("Cache") != killed, 30)
            # The replica has the old entries: they count as lost until the refill has replaced them.
            with closing(cache_of(sentinels)) as client:
                run_id = client.info("server")["run_id"].encode()
                filled = failed_over + seconds_until(lambda: client.get("profiles:filled_for") == run_id, 60)
            assert filled < 60
            assert cached(sentinels) == expected
            assert post(system, random_bodies(1)[0]).answer == 200
            assert count(database, "webhook_inbox") == before + UPDATES + 1
        assert set(creates.statuses) == {201}
        assert creates.slowest < 3.3 + 1
    print(  # noqa: T201
        f"Sentinel {'over' if sentinels.certificate else 'without'} TLS: failover {failed_over:.1f} s, "
        f"cache complete {filled:.1f} s after the kill, {UPDATES + 1} updates acknowledged, 0 lost, "
        f"{creates.statuses[201]} creates, slowest {creates.slowest:.2f} s"
    )


def test_after_a_failover_tasks_run_again(system: System, sentinels: Sentinels) -> None:
    checked = "SELECT max(at) FROM monitoring_keptfigure"
    with closing(Sender(system)) as sender, system.database() as database, Creates(system) as creates:
        seconds_until(lambda: database.execute(checked).fetchone() != (None,), 90)
        sentinels.kill_primary("queue")
        killed_at = database.execute("SELECT now() + interval '2 s'").fetchone()
        answers = Counter(sender.post(body).answer for body in random_bodies(50))
        seconds = seconds_until(
            lambda: (database.execute(checked).fetchone() or (None,))[0] > (killed_at or (None,))[0], 90
        )
    assert answers == {200: 50}
    assert set(creates.statuses) == {201}
    assert seconds < 75
    print(f"Sentinel: the next census {seconds:.1f} s after the task queue's primary was killed")  # noqa: T201
