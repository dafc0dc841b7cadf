"""The supervisor outlasts a machine that for a while has no memory, disk space or process to spare."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config.dev.processes import Child
from config.dev.supervisor import Supervisor


def test_a_child_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("config.dev.supervisor.time", SimpleNamespace(monotonic=lambda: 1000.0))
    system = Supervisor(cast(Any, None))
    logs = tmp_path / "logs"
    child = Child("web", [sys.executable, "-c", "pass"], {}, logs / "web.log")
    system.restart_at["web"] = 0.0
    for pause in ("0.2", "0.4"):
        system.revive(child)
        assert (
            f"web cannot be started (No such file or directory): trying again in {pause} s" in capsys.readouterr().out
        )
        assert system.restart_at["web"] == 1000 + float(pause)
        system.restart_at["web"] = 0.0
    logs.mkdir()
    system.revive(child)
    assert child.process is not None
    assert child.process.wait() == 0
    assert not system.restart_at
