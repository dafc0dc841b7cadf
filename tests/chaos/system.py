"""The whole system as ``make run`` starts it, with its own folder and port, for tests that break it."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psycopg
import redis
import requests

from config.dev import embedded
from config.dev.processes import BASE_DIR, die_with_parent, end_processes, postgres_processes, processes_of
from config.lib.redis_connection import plain

_CLOCK = BASE_DIR / "tests" / "chaos" / "clock"
# On a busy machine; ten seconds on a quiet one.
_START = 240.0
_STOP = 20.0
# What the command line of each part contains.
_COMMANDS = {
    "cache": "valkey-server --dir {data_dir}/cache",
    "broker": "valkey-server --dir {data_dir}/broker",
    "web": "-m config.web_server ",
    "inbox": "manage.py process_inbox",
    "worker": "config.celery --quiet worker",
    "beat": "config.celery --quiet beat",
}
PARTS = ("postgres", *_COMMANDS)
# The parts that are Python: a test may set their clocks, and the supervisor needs seconds to start them again.
PROGRAMS = ("web", "inbox", "worker", "beat")


def production_environment(data_dir: Path) -> dict[str, str]:
    """Return the whole environment of the system: production mode, updates collected, durable servers."""
    return {
        "PATH": os.environ["PATH"],
        "ENV_FILE": os.devnull,
        "DEBUG": "false",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "WEBHOOK_SECRET": secrets.token_urlsafe(24),
        "ALLOWED_HOSTS": "127.0.0.1",
        "DATA_DIR": str(data_dir),
        "PORT": str(embedded.free_port()),
        "WEB_WORKERS": "2",
        "PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE": "100",
        "DJANGO_SUPERUSER_PASSWORD": secrets.token_urlsafe(24),
        "API_RATE_LIMIT": "0",
        "ADMIN_MFA_REQUIRED": "false",
    }


class System:
    """With ``disk_mb``, DATA_DIR has a disk of its own, to be filled, which needs the right to mount one.

    With ``sets_clocks``, set_clock() works.
    """

    def __init__(self, *, disk_mb: int = 0, sets_clocks: bool = False, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="directory-chaos-")).resolve()
        self.data_dir = self.folder / "data"
        self.environment = production_environment(self.data_dir) | environment
        self.port = int(self.environment["PORT"])
        self.secret = self.environment["WEBHOOK_SECRET"]
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.tree, self.module = BASE_DIR, "config.dev.supervisor"
        self._offsets = self.folder / "clocks"
        if sets_clocks:
            self._offsets.mkdir()
            self.environment |= {"PYTHONPATH": str(_CLOCK), "CLOCK_OFFSETS": str(self._offsets)}
        self.is_on_own_disk = bool(disk_mb) and self._mount_disk(disk_mb)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def _mount_disk(self, megabytes: int) -> bool:
        self.data_dir.mkdir()
        argv = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "chaos", str(self.data_dir)]
        return os.geteuid() == 0 and subprocess.run(argv, check=False, capture_output=True).returncode == 0  # noqa: S603

    def start(self) -> None:
        """Return when it is ready. Call this in the main thread: the system ends with the thread that started it."""
        with self.output.open("wb") as output:
            self.supervisor = subprocess.Popen(  # noqa: S603 (ours)
                [sys.executable, "-m", self.module],
                cwd=self.tree,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C reaches only the test, which then stops the system.
                start_new_session=True,
                preexec_fn=partial(die_with_parent, signal.SIGTERM),  # noqa: PLW1509 (one call into libc)
            )
        deadline = time.monotonic() + _START
        while "Ready." not in self.output.read_text():
            if self.supervisor.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the system did not start: {self.output.read_text()}")
            time.sleep(0.05)

    def stop(self) -> list[int]:
        """Stop everything, kill what is still running, and return the ids of those processes."""
        if self.supervisor is not None:
            self.supervisor.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.supervisor.wait(_STOP)
        left = self._living()
        end_processes(self._living, seconds=0)
        if self.supervisor is not None:
            self.supervisor.wait()
        shutil.rmtree(embedded.socket_path(self.data_dir), ignore_errors=True)
        if self.is_on_own_disk:
            subprocess.run(["umount", "--lazy", str(self.data_dir)], check=True)  # noqa: S603, S607
        shutil.rmtree(self.folder, ignore_errors=True)
        return left

    def _living(self) -> list[int]:
        supervisor = self.supervisor
        own = [supervisor.pid] if supervisor is not None and supervisor.poll() is None else []
        return [*own, *processes_of(self.data_dir), *postgres_processes(self.data_dir / "postgres")]

    def service(self, name: str) -> str:
        """Return the URL of a server from services.env."""
        lines = (self.data_dir / "services.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)[name]

    def database(self) -> psycopg.Connection:
        return psycopg.connect(self.service("DATABASE_URL"), autocommit=True, connect_timeout=5)

    def durability(self) -> dict[str, str]:
        query = (
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')"
        )
        with self.database() as database:
            return dict(database.execute(query).fetchall())

    def token(self) -> str:
        """Log in as the superuser and return the access token."""
        log_in = {"username": "admin", "password": self.environment["DJANGO_SUPERUSER_PASSWORD"]}
        answer = requests.post(f"http://127.0.0.1:{self.port}/api/token", json=log_in, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["access"])

    def cache(self) -> redis.Redis:
        return redis.Redis.from_url(self.service("REDIS_URL"), socket_timeout=5)

    def broker(self) -> redis.Redis:
        return redis.Redis.from_url(plain(self.service("CELERY_BROKER_URL")), socket_timeout=5)

    def set_clock(self, part: str, ahead: float) -> None:
        """Set the clock of a part to the true time plus seconds, until has_clock(); PostgreSQL's stays."""
        new = self._offsets / "new"
        new.write_text(str(ahead))
        new.rename(self._offsets / f"directory-{part}")

    def has_clock(self, part: str, ahead: float) -> bool:
        """Return whether all processes of a part have set their clocks so."""
        copies = self._offsets.glob(f"directory-{part}.*")
        return {copy.read_text() for copy in copies if is_alive(int(copy.suffix[1:]))} == {str(ahead)}

    def pids(self, part: str) -> list[int]:
        """Return the running processes of a part, the oldest first."""
        if part == "postgres":
            return sorted(postgres_processes(self.data_dir / "postgres"), key=_started_at)
        command = _COMMANDS[part].format(data_dir=self.data_dir)
        return sorted((pid for pid in processes_of(self.data_dir) if command in _command_of(pid)), key=_started_at)

    def send(self, part: str, number: signal.Signals) -> None:
        """Signal all processes of a part."""
        for pid in self.pids(part):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _started_at(pid: int) -> tuple[int, int]:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]), pid
    except OSError:
        return sys.maxsize, pid
