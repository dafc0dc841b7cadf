"""Starts durable servers, and the project's processes one by one, as ``make run`` does."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

from config.dev import embedded
from config.dev.launch import Launch
from config.dev.processes import BASE_DIR, Child, end_processes, postgres_processes, processes_of, stop
from config.dev.supervisor import lay_out
from tests.chaos.system import production_environment

_START = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Stage:
    """Runs PostgreSQL and both Valkeys with a migrated database; a benchmark starts the processes that it needs."""

    def __init__(self, folder: Path) -> None:
        # The processes must not see the developer's variables.
        environment = production_environment(folder)
        os.environ.clear()
        os.environ.update(environment)
        self.launch = Launch.from_environment()
        self.secret = os.environ["WEBHOOK_SECRET"]
        self.environment: dict[str, str] = {}
        # The address of a collector, to which traced processes export the traces of a share of the requests.
        self.collector, self.traced_share = "", ""
        self.urls: dict[str, str] = {}
        self.running: list[Child] = []

    def start_servers(self) -> None:
        lay_out(self.launch)
        for name, server in self.launch.servers():
            self.start(server.child, server.answers)
            self.urls[name] = server.url
        self.environment = self.launch.child_environment(self.urls)
        self.manage("migrate", "--no-input")

    def start(self, child: Child, is_ready: Callable[[], bool]) -> None:
        child.start()
        self.running.append(child)
        deadline = time.monotonic() + _START
        while not is_ready():
            if not child.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"{child.name} did not start: {child.last_log_line()}")
            time.sleep(0.05)

    def manage(self, *arguments: str, tree: Path = BASE_DIR, environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "manage.py", *arguments]
        environment = environment or self.environment
        subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True)  # noqa: S603

    def process(self, name: str) -> Child:
        """Return a process of ``make run`` (web, inbox, worker, beat), not yet started."""
        return next(child for child in self.launch.application(self.environment) if child.name == name)

    def traced(self, name: str) -> Child:
        """Return a process of ``make run``, not yet started, with traces."""
        launch = replace(self.launch, port=embedded.free_port())
        child = next(child for child in launch.application(self.environment) if child.name == name)
        traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.collector, "OTEL_TRACES_SAMPLER_ARG": self.traced_share}
        return replace(child, name=f"traced {name}", env={**child.env, **traces}, log=launch.log(f"traced-{name}"))

    def start_web(self) -> tuple[str, Child]:
        """Start the web server unless it runs already; return its URL and process."""
        web = next((child for child in self.running if child.name == "web"), None)
        if web is None:
            web = self.process("web")
            self.start(web, partial(_serves, self.launch.port))
        return self.launch.url, web

    def start_other(self, name: str, application: str, *flags: str) -> tuple[str, Child]:
        """Start another application on another port, with the web server's flags and then these."""
        launch = replace(self.launch, port=embedded.free_port())
        web = next(child for child in launch.application(self.environment) if child.name == "web")
        other = replace(web, name=name, argv=[*web.argv[:-1], *flags, application], log=launch.log(name))
        self.start(other, partial(_serves, launch.port))
        return launch.url, other

    def start_earlier(self, tree: Path) -> tuple[str, Child]:
        """Start the web server of an earlier release, with a database of its own on the same PostgreSQL."""
        with self.database() as database:
            database.execute("CREATE DATABASE earlier")
        own = urlsplit(self.urls["DATABASE_URL"])
        launch = replace(self.launch, port=embedded.free_port())
        environment = {
            **self.environment,
            "DATABASE_URL": urlunsplit(own._replace(path="/earlier")),
            "PORT": f"{launch.port}",
            "WEB_WORKERS": f"{launch.web_workers}",
        }
        self.manage("migrate", "--no-input", tree=tree, environment=environment)
        argv = ["env", f"--chdir={tree}", sys.executable, "-m", "config.programs", "web"]
        earlier = Child("earlier", argv, environment, launch.log("earlier"))
        self.start(earlier, partial(_serves, launch.port))
        return launch.url, earlier

    def start_traced_web(self) -> tuple[str, Child]:
        """Start a second web server, with traces, on the same database."""
        web = self.traced("web")
        port = int(web.argv[web.argv.index("--port") + 1])
        self.start(web, partial(_serves, port))
        return f"http://127.0.0.1:{port}", web

    def web_flags(self) -> str:
        words = list(self.process("web").argv)
        return " ".join(words[words.index("config.web_server") + 1 : -1])

    def database(self) -> psycopg.Connection:
        return psycopg.connect(self.urls["DATABASE_URL"], autocommit=True)

    def cache(self) -> redis.Redis:
        return redis.Redis.from_url(self.urls["REDIS_URL"])

    def stop(self) -> None:
        servers = [child for child in self.running if child.name in ("postgres", "cache", "broker")]
        stop([child for child in self.running if child not in servers], seconds=5)
        stop(servers, seconds=5)


@contextmanager
def staged() -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="directory-bench-")).resolve()
    stage = Stage(folder)
    try:
        stage.start_servers()
        yield stage
    finally:
        stage.stop()
        end_processes(lambda: [*processes_of(folder), *postgres_processes(folder / "postgres")], seconds=0)
        shutil.rmtree(embedded.socket_path(folder), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def cpu_seconds(child: Child) -> float:
    """Return the processor time of a process and its children so far."""
    root = child.process.pid if child.process else 0
    return sum(cpu_of(pid) for pid in (root, *_children_of(root)))


def _children_of(pid: int) -> list[int]:
    return [int(text) for path in Path(f"/proc/{pid}/task").glob("*/children") for text in path.read_text().split()]


def cpu_of(pid: int) -> float:
    """Return the processor seconds of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _serves(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False
