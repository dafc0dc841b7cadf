"""Logs under DATA_DIR stay small while the processes write."""

import sys
import time
from pathlib import Path

import pytest

from config.dev import supervisor
from config.dev.processes import Child

# Three parts, each larger than the limit, with a pause after each.
_WRITE = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
for part in range(3):
    for number in range(3000):
        print(f"line {number:04}", flush=True)
    (folder / f"written {part}").touch()
    while not (folder / f"go on {part}").exists():
        time.sleep(0.01)
print("the last line", flush=True)
"""


def test_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_LIMIT", 20_000)
    logs = tmp_path / "logs"
    logs.mkdir()
    log, part = logs / "web.log", 3000 * len("line 0000\n")
    child = Child("web", [sys.executable, "-c", _WRITE, str(tmp_path)], {}, log)
    child.start()
    for number in range(3):
        while not (tmp_path / f"written {number}").exists():
            assert child.is_alive()
            supervisor.rotate_logs(logs)
            time.sleep(0.002)
        # What is written between a copy and its cut is lost; now nothing is being written.
        assert log.stat().st_size <= supervisor.LOG_LIMIT + part
        supervisor.rotate_logs(logs)
        assert log.stat().st_size <= supervisor.LOG_LIMIT
        (tmp_path / f"go on {number}").touch()
    assert child.process is not None
    assert child.process.wait() == 0
    assert log.read_text().splitlines()[-1] == "the last line"
    assert {path.name for path in logs.iterdir()} == {"web.log", "web.log.1"}
    assert log.stat().st_size + (logs / "web.log.1").stat().st_size < 2 * part


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_text("line\n")
    supervisor.rotate_logs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["web.log"]


def test_a_log_is_emptied_when_it_cannot_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is what the limit is for."""
    monkeypatch.setattr(supervisor, "LOG_LIMIT", 3)
    (tmp_path / "web.log").write_text("line\n")
    (tmp_path / "web.log.1").mkdir()
    supervisor.rotate_logs(tmp_path)
    assert (tmp_path / "web.log").read_text() == ""


def test_a_log_that_cannot_be_read_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_LIMIT", 3)
    for name in ("a.log", "z.log"):
        (tmp_path / name).symlink_to("missing")
    (tmp_path / "web.log").write_text("line\n")
    supervisor.rotate_logs(tmp_path)
    assert (tmp_path / "web.log.1").read_text() == "line\n"
