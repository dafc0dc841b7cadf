"""Secrets come from files named by ``…_FILE`` variables; an unusable file is an error that names the variable."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.dev.launch import Launch
from config.dev.processes import StartError
from config.secret_files import NAMES, read_into
from tests.config.test_environment_table import ROOT, read_by_the_code

SECRET = "a$b %{c} пароль"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_it_reads_each_secret_from_its_file(end: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes((SECRET + end).encode())
    for name in NAMES:
        environ = {f"{name}_FILE": str(tmp_path / "secret"), name: "old"}
        read_into(environ)
        assert environ[name] == SECRET


def test_it_leaves_variables_without_a_file_alone() -> None:
    environ = {"SECRET_KEY": "x", "SECRET_KEY_FILE": " "}
    read_into(environ)
    assert environ["SECRET_KEY"] == "x"
    assert set(NAMES) - {"PGPASSWORD"} <= read_by_the_code()


CONTENTS = [(None, "No such file"), (b"\xff", "UTF-8"), (b"a\0", "binary")]


@pytest.mark.parametrize(("content", "reason"), CONTENTS)
def test_it_refuses_a_file_that_it_cannot_use(content: bytes | None, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=f"^MAX_BOT_TOKEN_FILE .*{reason}"):
        read_into({"MAX_BOT_TOKEN_FILE": str(file)})


@pytest.mark.long
def test_settings_and_make_run_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("SECRET_KEY", "k" * 30 + "abcdefghijklmnopqrstuvwxyz"),
        ("DATABASE_URL", "postgresql://u@h/n"),
    ):
        (tmp_path / name).write_text(value)
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
        monkeypatch.delenv(name, raising=False)
    code = "from config import settings as s; print(len(s.SECRET_KEY), s.DATABASES['default']['HOST'])"
    env = {**os.environ, "ENV_FILE": os.devnull}
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.stdout == "56 h\n", done.stderr
    assert Launch.from_environment().environment["DATABASE_URL"] == "postgresql://u@h/n"
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(StartError, match="SECRET_KEY_FILE cannot be read"):
        Launch.from_environment()
