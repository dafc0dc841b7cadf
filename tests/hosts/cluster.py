"""The system on nine hosts: three with a web server behind nginx, two each with an inbox worker, a worker and beat."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import redis

from config.dev import embedded
from config.dev.processes import BASE_DIR, MARK, Child, stop
from tests.chaos.system import System
from tests.deploy.proxy import NGINX, nginx
from tests.hosts.network import STORES, Host, create_hosts
from tests.servers import FaultyServer
from tests.waiting import seconds_until

KINDS = {
    "web1": "web", "web2": "web", "web3": "web", "inbox1": "inbox", "inbox2": "inbox",
    "worker1": "worker", "worker2": "worker", "beat1": "beat", "beat2": "beat",
}  # fmt: skip
RATE = 5
_PORTS = {"cache": 6379, "broker": 6380, "max": 8099}


class Max(ThreadingHTTPServer):
    """The direct API: it knows nobody, and remembers when it was asked, in monotonic seconds."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((STORES, _PORTS["max"]), _Answer)
        self.asked_at: list[float] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    server: Max

    def do_POST(self) -> None:
        self.server.asked_at.append(time.monotonic())
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"users": [], "failed_phone_numbers": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Stay silent."""


class Cluster(System):
    """A system whose parts are hosts; ``port`` is that of nginx on this host."""

    def __init__(self) -> None:
        super().__init__(DEBUG="true", TRUSTED_PROXIES="1", API_RATE_LIMIT=str(RATE), WEB_WORKERS="1")
        self.hosts: dict[str, Host] = {}
        self.programs: dict[str, Child] = {}
        self.stores: list[Child] = []
        self.max: Max

    def start(self) -> None:
        self.data_dir.mkdir()
        self.hosts = create_hosts(*KINDS)
        self.max = Max()
        self.environment |= {
            "DATABASE_URL": f"postgresql://postgres@{STORES}:5432/directory",
            "REDIS_URL": f"redis://{STORES}:{_PORTS['cache']}/1",
            "CELERY_BROKER_URL": f"redis://{STORES}:{_PORTS['broker']}/2",
            "MAX_API_URL": f"http://{STORES}:{_PORTS['max']}",
            "MAX_BOT_TOKEN": "token",
            "ALLOWED_HOSTS": "*",
            "MONITORING_CHECK_INTERVAL": "5s",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            MARK: str(self.data_dir),
        }
        self._start_stores()
        prepare = [sys.executable, "-m", "config.dev.prepare"]
        subprocess.run(prepare, cwd=BASE_DIR, env=self.environment, check=True, capture_output=True)  # noqa: S603 (ours)
        for name, kind in KINDS.items():
            self.programs[name] = self._program(name, kind)
            self.programs[name].start()
        self._start_proxy()
        with self.database() as database:
            seconds_until(lambda: len(living(database)) == len(KINDS), 180)

    def _start_stores(self) -> None:
        env = embedded.environment(self.data_dir)
        sockets = embedded.socket_folder(self.data_dir)
        data = self.data_dir / "postgres"
        log = self.folder / "stores.log"
        server = embedded.postgres(data, sockets, log, env, listen_addresses=STORES, max_connections=400)
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
        FaultyServer(server).start()
        self.stores = [server.child]
        for name in ("cache", "broker"):
            options = {"bind": STORES, "port": str(_PORTS[name]), "protected-mode": "no", "save": ""}
            self.stores.append(embedded._valkey(self.data_dir / name, options, env, log))
            self.stores[-1].start()
            seconds_until(lambda port=_PORTS[name]: answers(port))  # type: ignore[misc]

    def _program(self, name: str, kind: str) -> Child:
        folder = self.data_dir / name
        (folder / "prometheus").mkdir(parents=True)
        env = self.environment | {
            "DATA_DIR": str(folder), "PORT": "8095", "PROMETHEUS_MULTIPROC_DIR": str(folder / "prometheus"),
        }  # fmt: skip
        argv = self.hosts[name].inside(sys.executable, "-m", "config.programs", kind)
        return Child(name, argv, env, self.folder / f"{name}.log")

    def _start_proxy(self) -> None:
        """Start nginx with the example; without TLS, because only the way to the hosts is tested."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        text = re.sub(r"server 127\.0\.0\.1:8096.*\n", "", NGINX)
        servers = "".join(f"server {self.hosts[name].address}:8095 max_fails=1 fail_timeout=1s;" for name in self.web)
        text = re.sub(r"server 127\.0\.0\.1:8095.*\n", servers, text)
        text = re.sub(r"(ssl_\w+|listen \[::\].*|listen 80)\b.*\n", "", text)
        text = text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{self.port};")
        proxy = Child("nginx", nginx(folder, text), os.environ | {MARK: str(self.data_dir)}, self.folder / "nginx.log")
        proxy.start()
        self.programs["nginx"] = proxy

    @property
    def web(self) -> list[str]:
        return [name for name, kind in KINDS.items() if kind == "web"]

    def database(self) -> psycopg.Connection:
        return psycopg.connect(self.environment["DATABASE_URL"], autocommit=True, connect_timeout=5)

    def service(self, name: str) -> str:
        return self.environment[name]

    def manage(self, *arguments: str, **variables: str) -> str:
        """Return the output of a manage.py command that is run beside the stores."""
        argv = [sys.executable, "manage.py", *arguments]
        env = self.environment | variables
        done = subprocess.run(argv, cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False)  # noqa: S603 (ours)
        return done.stdout + done.stderr

    def manage_on(self, name: str, *arguments: str) -> str:
        """Return what a manage.py command that is run on a host writes besides log lines."""
        argv = self.hosts[name].inside(sys.executable, "manage.py", *arguments)
        done = subprocess.run(argv, cwd=BASE_DIR, env=self.environment, capture_output=True, text=True, check=False)  # noqa: S603 (ours)
        return "".join(
            line for line in (done.stdout + done.stderr).splitlines(keepends=True) if not line.startswith("{")
        )

    def stop(self) -> list[int]:
        for host in self.hosts.values():
            host.restore()
        stop(self.programs.values(), seconds=20)
        stop(self.stores, seconds=10)
        return super().stop()


def answers(port: int) -> bool:
    with suppress(redis.RedisError):
        return bool(redis.Redis(host=STORES, port=port).ping())
    return False


def living(database: psycopg.Connection) -> Mapping[str, int]:
    """Return the revision that each host's process follows, by the host's name."""
    rows = database.execute("SELECT process, revision FROM rollout_heartbeat WHERE seen_at > now() - interval '3 s'")
    return {process.split("-")[1]: revision for process, revision in rows}
