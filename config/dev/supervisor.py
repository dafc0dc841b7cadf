"""`make run`: start all processes in the foreground, restart those that die, and leave none behind at the end."""

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any

from config.dev.embedded import socket_path
from config.dev.launch import SERVICES, Launch, write_service_files
from config.dev.processes import (
    Child,
    StartError,
    die_with_parent,
    end_processes,
    postgres_processes,
    processes_of,
    stop,
    wait_for,
)
from config.dev.terminal import Terminal, say, show_ready

_SHORTEST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
# A process that dies after running for this long is restarted after the shortest pause.
_STABLE_SECONDS = 30.0
# In bytes; each log has two files of this size at most.
LOG_LIMIT = 10 * 1024 * 1024


class Stopped(Exception):
    """Raised after SIGTERM or Ctrl-C, or when the terminal has been closed."""


class Supervisor:
    command = "make run"
    prepare_module = "config.dev.prepare"

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.terminal = Terminal()
        self.servers: list[Child] = []
        self.application: list[Child] = []
        self.restart_at: dict[str, float] = {}
        self.pause: dict[str, float] = {}
        self.is_stop_requested = False
        self.is_reload_requested = False
        self.interrupts = 0
        # Handlers only set flags: an exception during the start of a child would lose track of that child.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.note)

    def note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not self.terminal.is_gone():
            self.is_reload_requested = True
        else:
            self.is_stop_requested = True
            # Only a second SIGINT means haste, not a second SIGTERM: make forwards a signal that we have received too.
            self.interrupts += number == signal.SIGINT

    def run(self) -> int:
        try:
            self.show_ready(self.start())
            self.watch()
        except Stopped:
            say("Stopping")
        except (StartError, OSError) as error:
            say(str(error))
            return 1
        finally:
            self.shut_down()
        return 0

    def show_ready(self, prepared: dict[str, Any]) -> None:
        show_ready(self.launch, prepared)

    def processes(self, env: Mapping[str, str], prepared: dict[str, Any]) -> list[Child]:
        """Return the processes to start once the database is prepared, the web server first."""
        return self.launch.application(env)

    def sleep(self, seconds: float) -> None:
        if self.is_stop_requested or self.terminal.is_stop_wanted():
            raise Stopped
        time.sleep(seconds)

    def start(self) -> dict[str, Any]:
        end_processes(partial(processes_of, self.launch.data_dir), seconds=4)
        refuse_taken_port(self.launch)
        lay_out(self.launch)
        self.check_settings()
        say(f"Starting with {self.launch.data_dir}")
        env = self.launch.child_environment(self.start_servers())
        login = {name: text for name, text in self.launch.environment.items() if name.startswith("DJANGO_SUPERUSER_")}
        output = self.run_to_end("prepare", ["-m", self.prepare_module], {**env, **login}, seconds=3600)
        prepared: dict[str, Any] = json.loads(output.splitlines()[-1])
        self.application = self.processes(env, prepared)
        # All processes import the same modules: if they started together, each would take three times as long.
        web, *others = self.application
        web.start()
        self.await_start(lambda: self.launch.request_status("/health").startswith("200"), [web])
        for child in others:
            child.start()
        return prepared

    def check_settings(self) -> None:
        self.run_to_end("settings", ["-c", "import config.settings"], self.launch.child_environment({}), seconds=30)

    def start_servers(self) -> dict[str, str]:
        urls = {name: value for name, value in self.launch.environment.items() if name in SERVICES}
        for name, server in self.launch.servers():
            self.sleep(0)
            self.servers.append(server.child)
            server.child.start()
            self.await_start(server.answers, [server.child])
            urls[name] = server.url
        urls.setdefault("CELERY_BROKER_URL", urls["REDIS_URL"])
        write_service_files(self.launch, urls)
        return urls

    def run_to_end(self, name: str, arguments: list[str], env: dict[str, str], seconds: float) -> bytes:
        """Run a Python process to its end and return its standard output; raise StartError if the process fails.

        The output must fit into a pipe's buffer, because it is read only after the process has ended.
        """
        self.sleep(0)
        child = Child(name, [sys.executable, *arguments], env, self.launch.log(name))
        child.start(subprocess.PIPE)
        try:
            wait_for(lambda: not child.is_alive(), seconds, self.sleep)
        finally:
            child.kill()
        if child.process and child.process.stdout and child.process.returncode == 0:
            return child.process.stdout.read()
        # The last line of a traceback begins with the error's dotted class name, which does not help the user.
        line = child.last_log_line()
        prefix, colon, message = line.partition(": ")
        is_error = colon and "." in prefix and " " not in prefix
        raise StartError(message if is_error else f"{name} failed: {line}")

    def await_start(self, is_ready: Callable[[], bool], needed: list[Child]) -> None:
        """Wait until is_ready() is true; raise StartError after a minute, or as soon as a needed child dies."""

        def dead() -> list[Child]:
            return [child for child in needed if not child.is_alive()]

        if not wait_for(lambda: is_ready() or bool(dead()), 60, self.sleep) or dead():
            late = (dead() or needed)[0]
            raise StartError(f"{late.name} did not start: {late.last_log_line()} (see {late.log})")

    def watch(self) -> None:
        while True:
            for child in (*self.servers, *self.application):
                if not child.is_alive():
                    self.revive(child)
            if self.is_reload_requested:
                self.is_reload_requested = False
                self.reload()
            rotate_logs(self.launch.data_dir / "logs")
            self.sleep(0.1)

    def revive(self, child: Child) -> None:
        """Restart a dead child after a pause, which doubles with each crash.

        The first call schedules the restart. A later call starts the child, once the pause is over.
        """
        now = time.monotonic()
        if child.name not in self.restart_at:
            child.kill()
            was_stable = now - child.started_at > _STABLE_SECONDS
            pause = _SHORTEST_PAUSE if was_stable else self.pause.get(child.name, _SHORTEST_PAUSE)
            self.pause[child.name] = min(pause * 2, _LONGEST_PAUSE)
            self.restart_at[child.name] = now + pause
            say(f"{child.name} died ({child.exit_status()}): restarting it in {pause:.1f} s, see {child.log}")
        elif now >= self.restart_at[child.name]:
            self.restart(child)

    def restart(self, child: Child) -> None:
        """Start a child; if the machine lacks memory, disk space or processes, schedule another attempt."""
        try:
            child.start()
        except OSError as error:
            pause = self.pause.get(child.name, _SHORTEST_PAUSE)
            self.pause[child.name] = min(pause * 2, _LONGEST_PAUSE)
            self.restart_at[child.name] = time.monotonic() + pause
            say(f"{child.name} cannot be started ({error.strerror}): trying again in {pause:.1f} s")
        else:
            self.restart_at.pop(child.name, None)

    def reload(self) -> None:
        try:
            self.check_settings()
        except (StartError, OSError) as error:
            say(f"Not reloaded: {error}")
            return
        web, *others = self.application
        # Granian starts new workers before it ends the old ones, so no request is refused.
        web.send(signal.SIGHUP)
        for child in others:
            child.send(child.stop_signal)
        wait_for(lambda: not any(child.is_alive() for child in others), 12.0, self.sleep)
        for child in others:
            child.kill()
            self.restart(child)
        say("Reloaded inbox, worker and beat; the web workers follow one by one, two seconds each")

    def shut_down(self) -> None:
        """Stop all processes in less than 15 seconds, the application first and PostgreSQL last."""
        data_dir = self.launch.data_dir
        postgres = [child for child in self.servers if child.name == "postgres"]
        valkeys = [child for child in self.servers if child not in postgres]
        for children, seconds in ((self.application, 12.0), (valkeys, 1.0), (postgres, 1.5)):
            stop(children, seconds, must_hurry=lambda: self.interrupts > 1)
        end_processes(partial(processes_of, data_dir), seconds=0)
        # PostgreSQL's children overwrite their environment, and end later than PostgreSQL when the disk is slow.
        end_processes(partial(postgres_processes, data_dir / "postgres"), seconds=0)
        for name in ("services.env", "running.env", "supervisor.pid"):
            (data_dir / name).unlink(missing_ok=True)
        shutil.rmtree(socket_path(data_dir), ignore_errors=True)


def lock_data_dir(data_dir: Path) -> IO[str] | None:
    """Lock data_dir until the returned file is closed; return None if another supervisor holds the lock."""
    lock = (data_dir / "supervisor.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def refuse_taken_port(launch: Launch) -> None:
    host, port = launch.host, launch.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise StartError(f"HOST {host} is not an address of this machine") from None
        why = "needs more rights" if isinstance(error, PermissionError) else "is taken"
        raise StartError(f"Port {port} on {host} {why}: set PORT to another one") from None


def lay_out(launch: Launch) -> None:
    """Create the subdirectories of DATA_DIR, rotate large logs, delete old metrics, and write the pid file."""
    prometheus = launch.data_dir / "prometheus"
    shutil.rmtree(prometheus, ignore_errors=True)
    for folder in (prometheus, launch.data_dir / "logs"):
        folder.mkdir(mode=0o700, exist_ok=True)
    rotate_logs(launch.data_dir / "logs")
    (launch.data_dir / "supervisor.pid").write_text(f"{os.getpid()}\n")


def rotate_logs(folder: Path) -> None:
    """Copy each log larger than LOG_LIMIT to its ``.log.1`` file, which is overwritten, and empty the log.

    Logs are not renamed, because the processes keep them open in append mode; logrotate calls this copytruncate. A line
    that is written between copy and truncation is lost. On a full disk, the whole content is lost. A log that was
    removed during the rotation or cannot be emptied is skipped.
    """
    for log in folder.glob("*.log"):
        with suppress(OSError):
            if log.stat().st_size > LOG_LIMIT:
                with suppress(OSError):
                    shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)


def main(supervisor: type[Supervisor] = Supervisor) -> int:
    # End together with make: once make is killed, nothing forwards Ctrl-C.
    if "MAKELEVEL" in os.environ:
        die_with_parent(signal.SIGTERM)
    try:
        launch = Launch.from_environment()
        if not launch.data_dir.exists():
            # If DATA_DIR is new, the port cannot belong to its previous run, for whose end start() would wait.
            refuse_taken_port(launch)
        launch.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = lock_data_dir(launch.data_dir)
    except StartError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"DATA_DIR cannot be used: {error.filename}: {error.strerror}")
        return 1
    if lock is None:
        say(f"{launch.data_dir} is in use by another `{supervisor.command}`: set DATA_DIR to another folder")
        return 1
    with lock:
        return supervisor(launch).run()


if __name__ == "__main__":
    sys.exit(main())
