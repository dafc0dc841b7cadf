"""A command that cannot start prints one line and exits with an error code."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from config.dev.embedded import free_port
from config.dev.processes import BASE_DIR


def run(command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    argv, environment = [sys.executable, "manage.py", *command.split()], {"PATH": os.environ["PATH"]} | environment
    return subprocess.run(argv, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.long
@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"DEBUG": "false"}, "manage.py: SECRET_KEY must be set"),
        pytest.param({"DEBUG": "maybe"}, "manage.py: DEBUG is not true or false\n", marks=pytest.mark.integration),
        pytest.param(
            {"DEBUG": "true", "DATABASE_URL": "postgresql://x@127.0.0.1:{port}/x"},
            "PostgreSQL: connection failed",
            marks=pytest.mark.integration,
        ),
    ],
)
def test_it_refuses_in_one_line(tmp_path: Path, environment: dict[str, str], line: str) -> None:
    given = {name: value.format(port=free_port()) for name, value in environment.items()}
    done = run("alerts list", ENV_FILE=os.devnull, DATA_DIR=str(tmp_path), **given)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(line)


def stderr_without_a_key(folder: Path, **environment: str) -> str:
    done = run("health", ENV_FILE=str(folder / ".env"), DATA_DIR=str(folder), **environment)
    assert "SECRET_KEY must be set" in done.stderr
    return done.stderr


@pytest.mark.integration
def test_it_hints_that_nothing_runs(tmp_path: Path) -> None:
    hint = f" (nothing runs with {tmp_path}: start `make run`)\n"
    assert stderr_without_a_key(tmp_path).endswith(hint)
    assert hint not in stderr_without_a_key(tmp_path, DEBUG="false")
    (tmp_path / "services.env").touch()
    assert hint not in stderr_without_a_key(tmp_path), "production runs, with secrets of its own environment"


@pytest.mark.parametrize("command", ["alerts list", pytest.param("rollout status", marks=pytest.mark.integration)])
def test_it_hints_so_beside_an_env_file_too(tmp_path: Path, command: str) -> None:
    """PostgreSQL's own error alone would name a port that the user has never set."""
    (tmp_path / ".env").write_text(f"DEBUG=true\nPORT={free_port()}\n")
    done = run(command, ENV_FILE=str(tmp_path / ".env"), DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "PostgreSQL: " in done.stderr
    hint = f"nothing runs with {tmp_path}: start `make run`, or set its DATA_DIR or a DATABASE_URL)\n"
    assert done.stderr.endswith(hint)


@pytest.mark.integration
@pytest.mark.parametrize("command", ["alerts list", "report --daily", "check_alerts"])
def test_a_missing_table_is_one_line(tmp_path: Path, command: str) -> None:
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path="/postgres").geturl()
    done = run(command, ENV_FILE=os.devnull, DATA_DIR=str(tmp_path), DEBUG="true", DATABASE_URL=url)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith('PostgreSQL: relation "')


@pytest.mark.integration
@pytest.mark.parametrize("word", ["help", "health"])
def test_a_reader_that_leaves_is_no_error(word: str) -> None:
    """By help the text is written at the end, by health line by line."""
    closed, pipe = os.pipe()
    os.close(closed)
    argv = [sys.executable, "manage.py", word]
    done = subprocess.run(argv, cwd=BASE_DIR, stdout=pipe, stderr=subprocess.PIPE, check=False)  # noqa: S603
    os.close(pipe)
    assert (done.returncode, done.stderr) == (1, b"")
