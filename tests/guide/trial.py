"""A fresh copy of the project, and a shell in it that runs the commands of the guide."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from config.dev import embedded
from config.dev.processes import BASE_DIR, die_with_parent, end_processes, postgres_processes, processes_of

_START_SECONDS = 120
_BLOCK_SECONDS = 120
_END = "--- end of the block ---"


class Trial:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="directory-guide-")).resolve()
        self.copy = self.folder / "project"
        self.port = embedded.free_port()
        self._children: list[subprocess.Popen[str]] = []
        _copy_to(self.copy)
        (self.copy / ".venv").symlink_to(sys.prefix)
        environment = {"PATH": os.environ["PATH"], "PORT": str(self.port), "HOME": str(self.folder), "WEB_WORKERS": "1"}
        # LOGNAME is in the answers.
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", "LOGNAME": "olga"}
        self.environment = environment
        self.shell = self._start(["bash", "--noprofile", "--norc"], stdout=subprocess.PIPE)
        # Do not install the requirements again: .venv is the environment of this test.
        self.run('make() { command make -s -o runtime -o development "$@"; }')

    def _start(self, argv: list[str], stdout: int | None) -> subprocess.Popen[str]:
        child = subprocess.Popen(  # noqa: S603
            argv,
            cwd=self.copy,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, signal.SIGTERM),  # noqa: PLW1509 (one call into libc)
        )
        self._children.append(child)
        return child

    def run(self, script: str) -> tuple[str, int]:
        """Return the output and the last exit code; variables stay set for the next script."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        script = re.sub(r"localhost:8095", f"localhost:{self.port}", script)
        self.shell.stdin.write(f'{script}\necho "{_END} $?"\n')
        self.shell.stdin.flush()
        output, deadline = "", time.monotonic() + _BLOCK_SECONDS
        while not (end := re.search(rf"{_END} (\d+)\n", output)):
            if not select.select([self.shell.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"{script}\n{output}")
            output += os.read(self.shell.stdout.fileno(), 65536).decode(errors="replace")
        output = re.sub(rf"(localhost|127\.0\.0\.1):{self.port}", r"\1:8095", output[: end.start()])
        output = "\n".join(line.rstrip() for line in output.split("\n"))
        return output.replace(str(self.copy), "/srv/directory"), int(end[1])

    def start_in_background(self) -> None:
        """Start the system as `make run` does in another terminal; return when it is ready."""
        with (self.folder / "output").open("w") as output:
            supervisor = self._start([sys.executable, "-m", "config.dev.supervisor"], stdout=output.fileno())
        deadline = time.monotonic() + _START_SECONDS
        while "Ready." not in (printed := (self.folder / "output").read_text()):
            if supervisor.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"make run did not start: {printed}")
            time.sleep(0.1)

    def stop(self) -> None:
        for child in self._children:
            child.send_signal(signal.SIGTERM if child is not self.shell else signal.SIGKILL)
        for child in self._children:
            child.wait(30)
            if child.stdin is not None:
                child.stdin.close()
            if child.stdout is not None:
                child.stdout.close()
        data = self.copy / ".data"
        end_processes(lambda: [*processes_of(data), *postgres_processes(data / "postgres")], seconds=0)
        shutil.rmtree(embedded.socket_path(data), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _copy_to(folder: Path) -> None:
    """Copy the project's files, without the state of this working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (BASE_DIR / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(BASE_DIR / name, folder / name)
