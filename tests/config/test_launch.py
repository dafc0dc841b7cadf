"""A command beside a running `make run` finds it by DATA_DIR alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.dev.launch import SERVICES, Launch, write_service_files
from config.dev.processes import BASE_DIR


def answer_of(command: str, **environment: str) -> str:
    argv = [sys.executable, "manage.py", "shell", "--no-imports", "-c", command]
    env = {name: value for name, value in os.environ.items() if name not in ("HOST", "PORT", "DEBUG")} | environment
    done = subprocess.run(argv, cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.long
def test_it_works(tmp_path: Path) -> None:
    write_service_files(Launch({}, tmp_path, "127.0.0.1", 8196, 1, is_development=True), dict.fromkeys(SERVICES, "x"))
    environment = {"DATA_DIR": str(tmp_path), "ENV_FILE": str(tmp_path / "none")}
    ask = "from config.dev.launch import Launch; print(Launch.from_environment().url)"
    assert answer_of(ask, **environment) == "http://127.0.0.1:8196\n"


def test_in_production_commands_learn_the_address_and_no_mode(tmp_path: Path) -> None:
    write_service_files(Launch({}, tmp_path, "127.0.0.1", 8196, 1, is_development=False), dict.fromkeys(SERVICES, "x"))
    assert (tmp_path / "running.env").read_text() == "HOST=127.0.0.1\nPORT=8196\n"
