"""Child processes that die with their parent, and the search for processes that a crash left behind."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parents[2]
# This variable is set in every process that is started for a DATA_DIR, and in no other process.
MARK = "SUPERVISED_DATA_DIR"

_PR_SET_PDEATHSIG = 1
# A killed process that is waiting for disk I/O ends only when the I/O is complete.
_KILL_SECONDS = 2.0
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


class StartError(RuntimeError):
    """Raised when the system cannot start; the message is one line for the user."""


def die_with_parent(death_signal: int) -> None:
    """Make the kernel send death_signal to this process when the thread that forked it ends, even if it is killed."""
    if _prctl:
        _prctl(_PR_SET_PDEATHSIG, death_signal)


@dataclass
class Child:
    """A child process in its own session; it can be restarted with the same arguments."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    before_start: Callable[[], None] = lambda: None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0

    def start(self, stdout: int | None = None) -> None:
        self.before_start()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 (argv is ours)
                self.argv,
                cwd=BASE_DIR,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, self.stop_signal),  # noqa: PLW1509 (one call into libc)
            )
        self.started_at = time.monotonic()

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the process and all other processes in its group, and wait until it has ended."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def exit_status(self) -> str:
        """Return the name of the signal that ended the process, or ``exit code N``."""
        code = self.process.returncode if self.process else None
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def last_log_line(self) -> str:
        """Return the last log line that is neither empty nor indented, or an empty string if there is none."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line and not line[0].isspace()), "")


def wait_for(is_true: Callable[[], bool], seconds: float, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Wait for the condition for at most ``seconds``; return whether it became true.

    To end the wait early, ``sleep`` may raise an exception.
    """
    deadline = time.monotonic() + seconds
    while not (is_fulfilled := is_true()) and time.monotonic() < deadline:
        sleep(0.05)
    return is_fulfilled


def stop(children: Iterable[Child], seconds: float, must_hurry: Callable[[], bool] = lambda: False) -> None:
    """Send each child its stop signal; after ``seconds``, or once must_hurry() is true, kill those still alive."""
    children = list(children)
    for child in children:
        child.send(child.stop_signal)
        child.send(signal.SIGCONT)
    wait_for(lambda: must_hurry() or not any(child.is_alive() for child in children), seconds)
    for child in children:
        child.kill()


def _find(is_wanted: Callable[[Path], bool]) -> list[int]:
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        # A process may end during the search, and processes of other users cannot be read.
        with suppress(OSError):
            if int(folder.name) != os.getpid() and is_wanted(folder):
                pids.append(int(folder.name))
    return pids


def processes_of(data_dir: Path) -> list[int]:
    """Return the IDs of all processes that were started for data_dir, including grandchildren."""
    entry = f"{MARK}={data_dir}".encode()
    return _find(lambda folder: entry in (folder / "environ").read_bytes().split(b"\0"))


def postgres_processes(data: Path) -> list[int]:
    """Return the IDs of the postmaster and its backends in the data directory ``data``.

    They overwrite their environment, so ``processes_of``, which searches environments, does not find them.
    """
    return _find(lambda folder: (folder / "exe").readlink().name == "postgres" and (folder / "cwd").readlink() == data)


def end_processes(find: Callable[[], list[int]], seconds: float) -> None:
    """Wait until find() returns no processes; kill those that it still returns after ``seconds``."""

    def are_killed() -> bool:
        for pid in (pids := find()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    if not wait_for(lambda: not find(), seconds):
        wait_for(are_killed, _KILL_SECONDS)
