"""The whole system over a PgBouncer in transaction mode: each release of it that is there, with a real PostgreSQL."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
import requests

from config.dev import embedded
from config.dev.processes import BASE_DIR
from config.dev.processes import stop as stop_children
from tests.chaos.system import System
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import Sender
from tests.servers import FaultyServer, servers
from tests.stores.programs import pgbouncer, pgbouncers
from tests.waiting import seconds_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow"), pytest.mark.timeout(400)]

CLIENTS, UPDATES, POOL = 40, 2000, 20
# PgBouncer itself carries these from one session to the next.
_SETTINGS = """
SELECT name, setting FROM pg_settings
WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'TimeZone') ORDER BY name
"""
_KINDS = "SELECT DISTINCT split_part(process, '-', 1) FROM rollout_heartbeat WHERE seen_at > now() - interval '3 s'"
_CENSUS = "SELECT coalesce(max(at)::text, '') FROM monitoring_keptfigure"
_PENDING = "SELECT NOT EXISTS (SELECT FROM webhook_inbox WHERE state = 'pending')"
_IDLE_LOCKS = """
SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND state = 'idle'
"""


@pytest.fixture(scope="module", params=pgbouncers() or [pytest.param("", marks=pytest.mark.skip("no pgbouncer"))])
def pooler(request: pytest.FixtureRequest) -> Iterator[tuple[str, Path]]:
    """Start PostgreSQL and a PgBouncer; return its version and the folder of both sockets."""
    folder = Path(tempfile.mkdtemp(dir=servers.folder))
    sockets = Path(tempfile.mkdtemp(dir=embedded.socket_folder(servers.folder)))
    env = embedded.environment(servers.folder)
    postgres = FaultyServer(embedded.postgres(folder / "postgres", sockets, folder / "postgres.log", env))
    child = pgbouncer(pgbouncers()[request.param], folder, sockets, env, POOL)
    try:
        postgres.start()
        child.start()
        seconds_until((sockets / ".s.PGSQL.6432").exists)
        yield request.param, sockets
    finally:
        stop_children([child], seconds=5)
        postgres.stop()
        shutil.rmtree(sockets, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def url_of(sockets: Path, port: int = 6432) -> str:
    return f"postgresql://postgres@:{port}/directory?host={sockets}"


@pytest.fixture(scope="module")
def system(pooler: tuple[str, Path]) -> Iterator[System]:
    system = System(DATABASE_URL=url_of(pooler[1]))
    try:
        system.start()
        yield system
    finally:
        assert system.stop() == []


def send(system: System, bodies: list[bytes]) -> list[int | str]:
    with closing(Sender(system)) as sender:
        return [sender.post(body).answer for body in bodies]


def test_it_works(system: System, pooler: tuple[str, Path]) -> None:
    version, sockets = pooler
    bodies = list(random_bodies(UPDATES))
    started = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = Counter(
            answer for each in pool.map(lambda n: send(system, bodies[n::CLIENTS]), range(CLIENTS)) for answer in each
        )
    seconds = time.monotonic() - started
    assert answers == {200: UPDATES}
    with psycopg.connect(url_of(sockets, 5432), autocommit=True) as direct:
        drained = seconds_until(lambda: direct.execute(_PENDING).fetchone() == (True,), 60)
        assert direct.execute("SELECT count(*) FROM webhook_inbox").fetchone() == (UPDATES,)
        kinds = {("web",), ("inbox",), ("worker",), ("beat",)}
        seconds_until(lambda: set(direct.execute(_KINDS)) == kinds, 30)
        # Nothing wakes the inbox process: it sweeps every two seconds.
        swept = max(seconds_until_processed(system, direct, body) for body in random_bodies(5))
        create(system, 40)
        # The census is taken every ten seconds, in whichever session is free then.
        at = ""
        for _ in range(4):
            seconds_until(lambda at=at: census(direct) > at, 40)  # type: ignore[misc]
            at = census(direct)
        for _ in range(50):
            assert direct.execute(_IDLE_LOCKS).fetchone() == (0,)
            time.sleep(0.05)
    assert settings_of_sessions(sockets) == {()}
    print(  # noqa: T201
        f"PgBouncer {version}: {UPDATES} updates acknowledged in {seconds:.1f} s, 0 lost, processed {drained:.1f} s "
        f"later; one that arrives alone after {swept:.1f} s at most"
    )
    logs = "".join(path.read_text() for path in (system.data_dir / "logs").glob("*.log"))
    assert not [event for event in ("store_failed", "heartbeat_missed", "inbox_failed", "wakeup_lost") if event in logs]


def seconds_until_processed(system: System, database: psycopg.Connection, body: bytes) -> float:
    assert send(system, [body]) == [200]
    return seconds_until(lambda: database.execute(_PENDING).fetchone() == (True,), 20)


def census(database: psycopg.Connection) -> str:
    row = database.execute(_CENSUS).fetchone()
    return str(row[0]) if row else ""


def create(system: System, count: int) -> None:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {system.token()}"
        for number in range(count):
            body = {"phone": f"+7916555{number:04}", "university_name": "Пул"}
            assert session.post(f"http://127.0.0.1:{system.port}/employees", json=body, timeout=20).status_code == 201


def settings_of_sessions(sockets: Path) -> set[tuple[tuple[str, str], ...]]:
    """Return the distinct settings that clients have left in sessions of the pooler."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(psycopg.connect(url_of(sockets), prepare_threshold=None)) for _ in range(POOL // 2)
        ]
        # Each holds a transaction, and with it a session of its own.
        pids = {client.execute("SELECT pg_backend_pid()").fetchone() for client in clients}
        assert len(pids) == len(clients)
        return {tuple(client.execute(_SETTINGS).fetchall()) for client in clients}


def test_the_check_names_the_mode_and_what_to_set(system: System, pooler: tuple[str, Path]) -> None:
    version, sockets = pooler
    found = check(system, DATABASE_URL=url_of(sockets))
    assert "DATABASE_URL leads to a connection pooler in transaction mode." in found
    assert "postgres.W002" in found
    assert ("postgres.W003" in found) == (version == "1.18")
    found = check(system, DATABASE_URL=url_of(sockets), DATABASE_DIRECT_URL=url_of(sockets, 5432))
    assert "postgres.I001" in found
    assert "postgres.W002" not in found
    assert "postgres." not in check(system, DATABASE_URL=url_of(sockets, 5432)).replace("postgres.W001", "")


def check(system: System, **urls: str) -> str:
    environment = system.environment | urls
    for name in ("REDIS_URL", "CELERY_BROKER_URL"):
        environment[name] = system.service(name)
    command = [sys.executable, "manage.py", "check", "--deploy"]
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout + done.stderr


def test_the_direct_url_carries_notifications(pooler: tuple[str, Path]) -> None:
    """With it, an update is processed at once; without it, in the next sweep."""
    sockets = pooler[1]
    system = System(DATABASE_URL=url_of(sockets), DATABASE_DIRECT_URL=url_of(sockets, 5432))
    try:
        system.start()
        with psycopg.connect(url_of(sockets, 5432), autocommit=True) as direct:
            # The inbox process of the other system sweeps too.
            (pid,) = system.pids("inbox")
            listens = "SELECT EXISTS (SELECT FROM rollout_heartbeat WHERE process LIKE 'inbox-%%-' || %s)"
            seconds_until(lambda: direct.execute(listens, [str(pid)]).fetchone() == (True,), 60)
            time.sleep(1)
            taken = []
            for body in random_bodies(5):
                taken.append(seconds_until_processed(system, direct, body))
                time.sleep(0.3)
        assert max(taken) < 1
        print(f"PgBouncer {pooler[0]} with DATABASE_DIRECT_URL: processed after {max(taken):.1f} s at most")  # noqa: T201
    finally:
        assert system.stop() == []
