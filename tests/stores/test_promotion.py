"""The primary is killed while updates arrive, and its synchronous standby promoted: no acknowledged one is lost."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from config.dev import embedded
from config.dev.processes import end_processes, postgres_processes
from tests.chaos.responses import Answers
from tests.chaos.system import System
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import Sender, WebhookLoad
from tests.servers import FaultyServer, servers
from tests.waiting import seconds_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow"), pytest.mark.timeout(600)]

UPDATES = int(os.environ.get("PROMOTION_UPDATES", "4000"))
PER_SECOND = 200
_KINDS = """
SELECT DISTINCT split_part(process, '-', 1) FROM rollout_heartbeat WHERE seen_at > now() - interval '3 s'
"""
_PENDING = "SELECT NOT EXISTS (SELECT FROM webhook_inbox WHERE state = 'pending')"


class Pair:
    """A primary with a synchronous standby, each with a socket in a folder of its own."""

    def __init__(self, folder: Path, sockets: list[Path]) -> None:
        self.folder, self.sockets, self.servers = folder, sockets, list[FaultyServer]()

    def start(self) -> None:
        self._start("primary", self.sockets[0])
        standby = self.folder / "standby"
        source = ["-h", str(self.sockets[0]), "-p", "5432", "-U", "postgres"]
        command = [embedded.postgres_program("pg_basebackup"), "-D", str(standby), "-R", "-X", "stream", "-c", "fast"]
        subprocess.run([*command, *source], check=True, capture_output=True)  # noqa: S603 (ours)
        self._start("standby", self.sockets[1])
        with self.connect(0) as primary:
            seconds_until(lambda: primary.execute("SELECT count(*) FROM pg_stat_replication").fetchone() == (1,))
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
            state = "SELECT sync_state FROM pg_stat_replication"
            seconds_until(lambda: primary.execute(state).fetchone() == ("sync",))

    def _start(self, name: str, sockets: Path) -> None:
        env, log = embedded.environment(self.folder), self.folder / f"{name}.log"
        server = FaultyServer(embedded.postgres(self.folder / name, sockets, log, env, max_connections=200))
        server.start()
        self.servers.append(server)

    def connect(self, number: int) -> psycopg.Connection:
        return psycopg.connect(embedded.postgres_url(self.sockets[number]), autocommit=True)

    def kill_primary(self) -> None:
        self.servers[0].kill()
        # Its backends end by themselves, but not at once.
        end_processes(lambda: postgres_processes((self.folder / "primary").resolve()), seconds=0)

    def url(self) -> str:
        hosts = ",".join(map(str, self.sockets))
        return f"postgresql://postgres@:5432/directory?host={hosts}"

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


@pytest.fixture
def pair() -> Iterator[Pair]:
    folder = Path(tempfile.mkdtemp(dir=servers.folder))
    sockets = [Path(tempfile.mkdtemp(dir=embedded.socket_folder(servers.folder))) for _ in range(2)]
    pair = Pair(folder, sockets)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()
        for path in (folder, *sockets):
            shutil.rmtree(path, ignore_errors=True)


def test_none_of_the_acknowledged_is_lost(pair: Pair) -> None:
    system = System(DATABASE_URL=pair.url())
    try:
        system.start()
        load = WebhookLoad(system, Answers(), random_bodies(UPDATES), connections=16, seconds=UPDATES / PER_SECOND)
        load.start()
        time.sleep(UPDATES / PER_SECOND / 2)
        assert load.is_running()
        killed = time.monotonic()
        pair.kill_primary()
        with pair.connect(1) as promoted, closing(Sender(system)) as sender:
            promoted.execute("SELECT pg_promote(true, 30)")
            body = random_bodies(1)[0]
            back = time.monotonic() - killed + seconds_until(lambda: sender.post(body).answer == 200, 30)
            seconds_until(lambda: not load.is_running(), 120)
            stored = {hashlib.sha256(text).digest() for (text,) in promoted.execute("SELECT body FROM webhook_inbox")}
            acknowledged = {hashlib.sha256(text).digest() for text in load.first_acknowledged_at}
            assert len(acknowledged) == UPDATES
            assert acknowledged - stored == set()
            drained = seconds_until(lambda: promoted.execute(_PENDING).fetchone() == (True,), 60)
            seconds_until(lambda: promoted.execute(_KINDS).rowcount == 4, 20)
        assert back < 10
    finally:
        assert system.stop() == []
    print(  # noqa: T201
        f"Promotion: back after {back:.1f} s, {UPDATES} acknowledged, 0 lost, "
        f"processed {drained:.1f} s after the last; answers {dict(load.answers.counts['webhook'])}"
    )
