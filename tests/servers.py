"""Pytest plugin: starts PostgreSQL and two Valkey servers before Django reads its settings.

Each worker of ``pytest -n`` has its own. ``python -m tests.servers COMMAND …`` runs any command beside such servers.
"""

import atexit
import fcntl
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
import redis

from config.dev import embedded
from config.dev.processes import BASE_DIR, Child, end_processes, processes_of, stop

_PREFIX = f"directory-tests-{os.geteuid()}-"
# Nothing here must survive a power cut, and no server follows.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "wal_level": "minimal"}
_FAST |= {"max_wal_senders": "0", "io_method": "sync", "jit": "off", "update_process_title": "off"}


@dataclass
class FaultyServer:
    """A server that a test may pause, kill and start again."""

    server: embedded.Server

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def child(self) -> Child:
        return self.server.child

    def start(self) -> None:
        """Start the server and wait until it answers; from the main thread, because it dies with its thread."""
        self.child.start()
        deadline = time.monotonic() + 30
        while not self.server.answers():
            if not self.child.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"{self.child.name} did not start: {self.child.last_log_line()}")
            time.sleep(0.02)

    def pause(self) -> None:
        """Have the server accept connections and never answer."""
        self.child.send(SIGSTOP)

    def resume(self) -> None:
        self.child.send(SIGCONT)

    def kill(self) -> None:
        self.child.kill()

    def stop(self) -> None:
        stop([self.child], seconds=5)


class ThrowawayServers:
    def __init__(self) -> None:
        _sweep()
        self.owner = os.getpid()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
        # Held as long as this run lives: a later one removes the folders whose lock is free.
        self.lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        atexit.register(self.stop)

    def start(self) -> None:
        sockets, env = embedded.socket_folder(self.folder), embedded.environment(self.folder)
        self.postgres = FaultyServer(
            embedded.postgres(self.folder / "postgres", sockets, self.folder / "postgres.log", env, **_FAST)
        )
        self.cache = FaultyServer(
            embedded.valkey_cache(self.folder / "cache", self.folder / "cache.log", env, {"REDIS_SAVE_INTERVAL": ""})
        )
        self.broker = FaultyServer(
            embedded.valkey_broker(self.folder / "broker", sockets, self.folder / "broker.log", env)
        )
        for server in (self.postgres, self.cache, self.broker):
            server.start()
        os.environ |= {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.cache.url,
            "CELERY_BROKER_URL": self.broker.url,
        }

    def set_environment(self) -> None:
        """Remove what the developer has in the shell and .env from the environment."""
        example = BASE_DIR / ".env.example"
        for name in re.findall(r"^#? ?([A-Z_]+)=", example.read_text() if example.exists() else "", re.MULTILINE):
            os.environ.pop(name, None)
        os.environ |= {
            "ENV_FILE": os.devnull,
            "DEBUG": "true",
            "DATA_DIR": str(self.folder),
            "MAX_BOT_TOKEN": "",
            "WEBHOOK_SECRET": "",
            "ALERT_WEBHOOK_URL": "",
            "ALERT_SLACK_WEBHOOK": "",
            "ALERT_EMAIL_TO": "",
        }

    def stop(self) -> None:
        # A forked child of a test runs the same atexit functions.
        if os.getpid() != self.owner or not self.folder.exists():
            return
        children = [server.child for server in vars(self).values() if isinstance(server, FaultyServer)]
        stop(children, seconds=3)
        _remove(self.folder)


def _remove(folder: Path) -> None:
    end_processes(partial(processes_of, folder), seconds=0)
    shutil.rmtree(embedded.socket_path(folder), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove the folders of earlier runs that were killed."""
    for folder in Path(tempfile.gettempdir()).resolve().glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # Another run sweeps too.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another run may be between making its folder and locking it, on a busy machine for long.
            if time.time() - folder.stat().st_mtime > 60:
                _remove(folder)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)


servers = ThrowawayServers()
servers.set_environment()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Start the servers before pytest-django reads the settings; the process that distributes tests needs none."""
    if "PYTEST_XDIST_WORKER" in os.environ or not early_config.known_args_namespace.numprocesses:
        servers.start()
        # Until the tests are collected, because what is imported stays.
        gc.disable()
    yield


def pytest_unconfigure() -> None:
    servers.stop()


@pytest.fixture
def redis_server() -> Iterator[FaultyServer]:
    """Return the cache's server to be paused, killed and started; it is empty and running after the test."""
    yield servers.cache
    servers.cache.resume()
    if not servers.cache.child.is_alive():
        servers.cache.start()
    redis.Redis.from_url(servers.cache.url).flushall()


@pytest.fixture
def broker_server() -> Iterator[FaultyServer]:
    """Return the broker's server to be paused, killed and started; it is running after the test."""
    yield servers.broker
    servers.broker.resume()
    if not servers.broker.child.is_alive():
        servers.broker.start()


@pytest.fixture
def durable_postgres() -> Iterator[FaultyServer]:
    """Start a second PostgreSQL with fsync on, for tests of what survives kill -9."""
    folder = Path(tempfile.mkdtemp(dir=servers.folder))
    sockets = Path(tempfile.mkdtemp(dir=embedded.socket_folder(servers.folder)))
    env = embedded.environment(servers.folder)
    server = FaultyServer(embedded.postgres(folder / "postgres", sockets, folder / "postgres.log", env))
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(sockets, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    servers.start()
    sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)  # noqa: S603 (the caller's own command)
