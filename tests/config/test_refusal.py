"""Production that is not safe does not start: each case is a process, of `make run` or as in a container."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.dev.embedded import free_port
from config.dev.processes import BASE_DIR
from config.env import GUIDE_SECRET

GOOD = {
    "SECRET_KEY": secrets.token_urlsafe(64),
    "WEBHOOK_SECRET": secrets.token_urlsafe(24),
    "ALLOWED_HOSTS": "directory.example.ru",
}
# Without a value the variable is missing.
CASES: list[tuple[str, str | None]] = [
    ("SECRET_KEY", None),
    ("SECRET_KEY", ""),
    ("SECRET_KEY", " " * 60),
    ("SECRET_KEY", "a" * 60),
    ("SECRET_KEY", "a-key-of-forty-nine-characters-which-is-one-short"),
    ("SECRET_KEY", f"django-insecure-{'x' * 50}"),
    ("WEBHOOK_SECRET", None),
    ("WEBHOOK_SECRET", " , "),
    ("WEBHOOK_SECRET", "fifteen-letters"),
    ("WEBHOOK_SECRET", "not a secret of the messenger's alphabet"),
    ("WEBHOOK_SECRET", GUIDE_SECRET),
    ("ALLOWED_HOSTS", None),
    ("ALLOWED_HOSTS", "*"),
]
LAUNCHERS = {"make run": "config.dev.supervisor", "a container": "config.programs"}
# Both read the same settings: the second is to show that it refuses as well, one variable after the other.
RUNS = [*(("make run", number) for number in range(len(CASES))), *(("a container", number) for number in (2, 10, 12))]


@dataclass(frozen=True)
class Ending:
    code: int
    said: str
    was_bound: bool


def launch(module: str, folder: Path, variable: str, value: str | None) -> Ending:
    given = {
        name: text for name, text in (GOOD | {variable: value or ""}).items() if name != variable or value is not None
    }
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": os.devnull,
        "DEBUG": "false",
        "DATA_DIR": str(folder),
        "PORT": str(port),
        **given,
    }
    command = [sys.executable, "-m", module, "web"]
    was_bound = False
    with subprocess.Popen(  # noqa: S603
        command, cwd=BASE_DIR, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.poll() is None:
            with socket.socket() as probe:
                was_bound |= probe.connect_ex(("127.0.0.1", port)) == 0
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        assert process.stdout is not None
        return Ending(process.returncode, process.stdout.read(), was_bound)


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Ending]:
    with ThreadPoolExecutor(2) as pool:
        started = {
            (name, number): pool.submit(launch, module, tmp_path_factory.mktemp("refused"), *case)
            for name, number in RUNS
            for module, case in [(LAUNCHERS[name], CASES[number])]
        }
        return {key: ending.result() for key, ending in started.items()}


# One worker starts all the processes.
@pytest.mark.xdist_group("refusal")
@pytest.mark.parametrize(("launcher", "number"), RUNS)
def test_it_refuses_to_start(endings: dict[tuple[str, int], Ending], launcher: str, number: int) -> None:
    ending, (variable, value) = endings[launcher, number], CASES[number]
    assert ending.code != 0
    assert not ending.was_bound
    assert variable in ending.said
    assert "Traceback" not in ending.said
    if value and value.strip(" ,*"):
        assert value not in ending.said
    assert not any(secret in ending.said for name, secret in GOOD.items() if name != "ALLOWED_HOSTS")


def test_what_production_wants_is_enough(tmp_path: Path) -> None:
    """The same environment, made whole, is taken: the refusals above are for their one variable alone."""
    command = [sys.executable, "-c", "import config.settings"]
    environment = {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "DATA_DIR": str(tmp_path), **GOOD}
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
    environment["MAX_API_URL"] = "http://platform-api2.max.ru"
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode != 0
    assert "MAX_API_URL must begin with https://" in done.stderr


def test_a_taken_port_leaves_no_folder_behind(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "config.dev.supervisor"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment["PORT"] = port = str(taken.getsockname()[1])
        done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stdout) == (1, f"Port {port} on 127.0.0.1 is taken: set PORT to another one\n")
    assert not (tmp_path / "data").exists()
