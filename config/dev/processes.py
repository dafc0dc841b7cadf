"""Child processes that die with their parent, and the search for those that a crash left behind."""

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
# In the environment of everything that is started for a DATA_DIR, and of nothing else.
MARK = "SUPERVISED_DATA_DIR"

_PR_SET_PDEATHSIG = 1
_PROC = Path("/proc")
# A process in the middle of disk I/O dies when that is done.
_KILL_TAKES = 2.0
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def die_with_parent(death_signal: int) -> None:
    """Have the kernel send death_signal to this process when the thread that forked it ends, kill -9 included."""
    if _prctl:
        _prctl(_PR_SET_PDEATHSIG, death_signal)


@dataclass
class Child:
    """A process in a session of its own, which can be started again with the same arguments."""

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
        """Kill at once whatever is left of the process and its group."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ending(self) -> str:
        """Return how the process ended, for people."""
        code = self.process.returncode if self.process else None
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def last_log_line(self) -> str:
        """Return the last line of the log that is not indented, as the rest of a message is, or an empty string."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line and not line[0].isspace()), "")


def until(is_true: Callable[[], bool], seconds: float, wait: Callable[[float], None] = time.sleep) -> bool:
    """Return whether it came true within so many seconds; wait() may raise to give up."""
    deadline = time.monotonic() + seconds
    while not (came_true := is_true()) and time.monotonic() < deadline:
        wait(0.05)
    return came_true


def stop(children: Iterable[Child], patience: float, must_hurry: Callable[[], bool] = lambda: False) -> None:
    """Ask children to stop, together, and kill those that have not after patience seconds."""
    children = list(children)
    for child in children:
        child.send(child.stop_signal)
        child.send(signal.SIGCONT)
    until(lambda: must_hurry() or not any(child.is_alive() for child in children), patience)
    for child in children:
        child.kill()


def _find(is_wanted: Callable[[Path], bool]) -> list[int]:
    found = []
    for folder in _PROC.glob("[0-9]*"):
        # Processes end while we look, and those of other users may not be read.
        with suppress(OSError):
            if int(folder.name) != os.getpid() and is_wanted(folder):
                found.append(int(folder.name))
    return found


def marked(data_dir: Path) -> list[int]:
    """Find every process, grandchildren too, that was started for data_dir."""
    entry = f"{MARK}={data_dir}".encode()
    return _find(lambda folder: entry in (folder / "environ").read_bytes().split(b"\0"))


def postgres_of(data: Path) -> list[int]:
    """Find the postmaster and the backends of a data folder: backends overwrite their environment, and the mark."""
    return _find(lambda folder: (folder / "exe").readlink().name == "postgres" and (folder / "cwd").readlink() == data)


def outlast(find: Callable[[], list[int]], patience: float) -> None:
    """Wait until find() finds nothing more; after patience seconds kill what it still finds."""

    def is_dead() -> bool:
        for pid in (left := find()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    if not until(lambda: not find(), patience):
        until(is_dead, _KILL_TAKES)
