"""Logs under DATA_DIR stay small while the processes write."""

import sys
import time
from pathlib import Path

import pytest

from config.dev import supervisor
from config.dev.processes import Child


def test_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_LIMIT", 20_000)
    log = tmp_path / "web.log"
    # The pause before the last line: one that is written between the copy and the cut may be lost.
    write = "import time\nfor number in range(5000):\n"
    write += "    number < 4999 or time.sleep(0.2)\n    print('line', number, flush=True)"
    child = Child("web", [sys.executable, "-c", write], {}, log)
    child.start()
    largest, kept = 0, ""
    while child.is_alive():
        supervisor.rotate_logs(tmp_path)
        largest = max(largest, log.stat().st_size)
        time.sleep(0.002)
    assert child.process is not None
    assert child.process.wait() == 0
    kept = (tmp_path / "web.log.1").read_text() + log.read_text()
    assert kept.splitlines()[-1] == "line 4999"
    assert {path.name for path in tmp_path.iterdir()} == {"web.log", "web.log.1"}
    assert largest < 5000 * len("line 4999\n")
    assert log.stat().st_size < 30_000


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
