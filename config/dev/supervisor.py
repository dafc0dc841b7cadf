"""`make run`: start everything under one foreground process, keep it alive, and leave nothing behind."""

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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any

from config.dev.embedded import Unavailable, socket_path
from config.dev.launch import SERVICES, Launch, StartError, write_service_files
from config.dev.processes import Child, die_with_parent, marked, outlast, postgres_of, stop, until
from config.dev.terminal import Terminal, say, show_ready

# Seconds: the whole stop stays under 15.
_STOP_APPLICATION = 12.0
_STOP_VALKEY = 1.0
_STOP_POSTGRES = 1.5
_SETTINGS_TAKE = 30.0
_SERVER_TAKES = 60.0
_MIGRATIONS_TAKE = 3600.0
_WEB_TAKES = 60.0

_SHORTEST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_LIVED_WELL = 30.0
_LOG_LIMIT = 10 * 1024 * 1024


class Stopped(Exception):
    """SIGTERM, Ctrl-C or the end of the terminal."""


class Supervisor:
    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.terminal = Terminal()
        self.servers: list[Child] = []
        self.application: list[Child] = []
        self.due: dict[str, float] = {}
        self.pause: dict[str, float] = {}
        self.is_stop_asked = False
        self.interrupts = 0
        self.is_reload_asked = False
        # Handlers only take a note: an exception in the middle of a start would lose the child being started.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.note)

    def note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not self.terminal.is_gone():
            self.is_reload_asked = True
        else:
            self.is_stop_asked = True
            # Only these are in earnest when there are two: make passes on a SIGTERM that its group had already.
            self.interrupts += number == signal.SIGINT

    def run(self) -> int:
        code = 0
        try:
            prepared = self.start()
            show_ready(self.launch, prepared)
            self.watch()
        except Stopped:
            say("Stopping")
        except (StartError, Unavailable, OSError) as error:
            say(str(error))
            code = 1
        finally:
            self.shut_down()
        return code

    def wait(self, seconds: float) -> None:
        if self.is_stop_asked or self.terminal.is_stop_wanted():
            raise Stopped
        time.sleep(seconds)

    def start(self) -> dict[str, Any]:
        outlast(partial(marked, self.launch.data_dir), patience=4)
        refuse_taken_port(self.launch)
        lay_out(self.launch)
        self.check_settings()
        say(f"Starting with {self.launch.data_dir}")
        env = self.launch.child_environment(self.start_servers())
        prepared = self.prepare(env)
        self.application = self.launch.application(env)
        # Celery imports what the web server imports: started together, each of them takes twice as long.
        receiving, background = self.application[:2], self.application[2:]
        for child in receiving:
            child.start()
        self.wait_until(lambda: self.launch.answer("/health").startswith("200"), _WEB_TAKES, receiving)
        for child in background:
            child.start()
        return prepared

    def check_settings(self) -> None:
        env = self.launch.child_environment({})
        command = [sys.executable, "-c", "import config.settings"]
        self.run_to_end(Child("settings", command, env, self.launch.log("settings")), _SETTINGS_TAKE)

    def start_servers(self) -> dict[str, str]:
        urls = {name: value for name, value in self.launch.environment.items() if name in SERVICES}
        for name, server in self.launch.servers():
            self.wait(0)
            self.servers.append(server.child)
            server.child.start()
            self.wait_until(server.answers, _SERVER_TAKES, [server.child])
            urls[name] = server.url
        urls.setdefault("CELERY_BROKER_URL", urls["REDIS_URL"])
        write_service_files(self.launch, urls)
        return urls

    def prepare(self, env: dict[str, str]) -> dict[str, Any]:
        login = {name: text for name, text in self.launch.environment.items() if name.startswith("DJANGO_SUPERUSER_")}
        command = [sys.executable, "-m", "config.dev.prepare"]
        output = self.run_to_end(
            Child("prepare", command, {**env, **login}, self.launch.log("prepare")), _MIGRATIONS_TAKE
        )
        prepared: dict[str, Any] = json.loads(output.splitlines()[-1])
        return prepared

    def run_to_end(self, child: Child, patience: float) -> bytes:
        """Return what the child wrote to stdout, which must be little; raise its last line when it fails."""
        self.wait(0)
        child.start(subprocess.PIPE)
        try:
            until(lambda: not child.is_alive(), patience, self.wait)
        finally:
            child.kill()
        if child.process is None or child.process.stdout is None or child.process.returncode != 0:
            raise StartError(_message(child))
        return child.process.stdout.read()

    def wait_until(self, is_true: Callable[[], bool], patience: float, needed: list[Child]) -> None:
        """Raise StartError unless it comes true in time, and as soon as one of the children that it needs has died."""

        def dead() -> list[Child]:
            return [child for child in needed if not child.is_alive()]

        if not until(lambda: is_true() or bool(dead()), patience, self.wait) or dead():
            late = (dead() or needed)[0]
            raise StartError(f"{late.name} did not start: {late.last_log_line()} (see {late.log})")

    def watch(self) -> None:
        while True:
            for child in (*self.servers, *self.application):
                if not child.is_alive():
                    self.revive(child)
            if self.is_reload_asked:
                self.is_reload_asked = False
                self.reload()
            self.wait(0.1)

    def revive(self, child: Child) -> None:
        now = time.monotonic()
        if child.name not in self.due:
            child.kill()
            has_lived_well = now - child.started_at > _LIVED_WELL
            pause = _SHORTEST_PAUSE if has_lived_well else self.pause.get(child.name, _SHORTEST_PAUSE)
            self.pause[child.name] = min(pause * 2, _LONGEST_PAUSE)
            self.due[child.name] = now + pause
            say(f"{child.name} died ({child.ending()}): starting it again in {pause:.1f} s, see {child.log}")
        elif now >= self.due[child.name]:
            del self.due[child.name]
            child.start()

    def reload(self) -> None:
        try:
            self.check_settings()
        except StartError as error:
            say(f"Not reloaded: {error}")
            return
        web, *others = self.application
        # Granian starts new workers before it ends the old ones: no request is refused meanwhile.
        web.send(signal.SIGHUP)
        for child in others:
            child.send(child.stop_signal)
        until(lambda: not any(child.is_alive() for child in others), _STOP_APPLICATION, self.wait)
        for child in others:
            child.kill()
            self.due.pop(child.name, None)
            child.start()
        say("Reloaded inbox, worker and beat; the web workers follow one by one, two seconds each")

    def shut_down(self) -> None:
        def must_hurry() -> bool:
            return self.interrupts > 1

        stop(self.application, _STOP_APPLICATION, must_hurry)
        stop([child for child in self.servers if child.name != "postgres"], _STOP_VALKEY, must_hurry)
        stop([child for child in self.servers if child.name == "postgres"], _STOP_POSTGRES, must_hurry)
        outlast(partial(marked, self.launch.data_dir), patience=0)
        # Its children overwrite their environment, and end after it when the disk is slow.
        outlast(partial(postgres_of, self.launch.data_dir / "postgres"), patience=0)
        for name in ("services.env", "running.env", "supervisor.pid"):
            (self.launch.data_dir / name).unlink(missing_ok=True)
        shutil.rmtree(socket_path(self.launch.data_dir), ignore_errors=True)


def _message(child: Child) -> str:
    # A traceback ends with the dotted class of the error; the message says enough without it.
    words = child.last_log_line()
    name, colon, message = words.partition(": ")
    return message if colon and "." in name and " " not in name else f"{child.name} failed: {words}"


def claim(data_dir: Path) -> IO[str] | None:
    """Take the lock that one supervisor holds on its DATA_DIR for as long as it lives; None when it is taken."""
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
    """Make the folders of DATA_DIR, set aside long logs and drop the metrics of processes that are gone."""
    prometheus = launch.data_dir / "prometheus"
    shutil.rmtree(prometheus, ignore_errors=True)
    for folder in (prometheus, launch.data_dir / "logs"):
        folder.mkdir(mode=0o700, exist_ok=True)
    for log in (launch.data_dir / "logs").glob("*.log"):
        if log.stat().st_size > _LOG_LIMIT:
            log.rename(log.with_suffix(".log.1"))
    (launch.data_dir / "supervisor.pid").write_text(f"{os.getpid()}\n")


def main() -> int:
    # With make killed there would be nobody left to pass on a Ctrl-C.
    if "MAKELEVEL" in os.environ:
        die_with_parent(signal.SIGTERM)
    try:
        launch = Launch.from_environment()
        if not launch.data_dir.exists():
            # No earlier run of it, which start() waits for, can hold the port.
            refuse_taken_port(launch)
        launch.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = claim(launch.data_dir)
    except StartError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"DATA_DIR cannot be used: {error.filename}: {error.strerror}")
        return 1
    if lock is None:
        say(f"{launch.data_dir} is in use by another `make run`: set DATA_DIR to another folder")
        return 1
    with lock:
        return Supervisor(launch).run()


if __name__ == "__main__":
    sys.exit(main())
