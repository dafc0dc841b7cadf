"""`make demo`: what it refuses, and, as whole processes, its start, its second start and its end."""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
import requests

from config.dev.demo import __main__ as demo
from config.dev.demo.__main__ import DemoSupervisor, claim_data_dir
from config.dev.launch import Launch
from config.dev.processes import BASE_DIR, StartError
from config.dev.supervisor import Supervisor
from tests.demo.running import COMMAND, Running, environment


def output_of(data_dir: Path, *arguments: str, **more: str) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603 (ours)
        [*COMMAND, *arguments],
        cwd=BASE_DIR,
        env=environment(data_dir, **more),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_it_claims_a_new_folder_once(tmp_path: Path) -> None:
    claim_data_dir(tmp_path / "new")
    claim_data_dir(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["demo.json"]


def test_it_never_touches_another_folder(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    with pytest.raises(StartError, match="was not made by `make demo`"):
        claim_data_dir(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["postgres"]
    status, printed = output_of(tmp_path, "--fresh")
    assert (status, [path.name for path in tmp_path.iterdir()]) == (1, ["postgres"])
    assert f"{tmp_path} was not made by `make demo`, which never touches it" in printed


@pytest.mark.long
def test_production_refuses_it(tmp_path: Path) -> None:
    status, printed = output_of(tmp_path / "data", DEBUG="false")
    assert status == 1
    assert "make demo is for development, and DEBUG is off here" in printed
    assert not (tmp_path / "data").exists()


def test_it_refuses_a_scene_that_does_not_exist(tmp_path: Path) -> None:
    status, printed = output_of(tmp_path / "data", SCENE="fire")
    assert (status, printed) == (1, "There is no scene 'fire': choose SCENE=calm or SCENE=incident\n")


def test_no_setting_of_another_system_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo sends no alert to a real channel, and uses no database but its own."""
    monkeypatch.setenv("ENV_FILE", os.devnull)
    monkeypatch.setenv("DEBUG", "true")
    theirs = ("DATABASE_URL", "REDIS_URL", "ALERT_SLACK_WEBHOOK", "ALERT_WEBHOOK_URL", "SECRET_KEY", "MAX_API_URL")
    for name in theirs:
        monkeypatch.setenv(name, "theirs")
    monkeypatch.setenv("PORT", "8123")
    monkeypatch.delenv("DATA_DIR", raising=False)
    # It removes what the later tests of this process need, too.
    with mock.patch.dict(os.environ):
        demo.isolate_environment()
        assert not set(theirs) & set(os.environ)
        assert os.environ["PORT"] == "8123"
        assert os.environ["DATA_DIR"] == str(BASE_DIR / ".data" / "demo")


def test_data_that_is_made_again_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each start after the first twelve hours would make it again."""
    monkeypatch.setattr(Supervisor, "start", lambda _: {})
    monkeypatch.setattr(DemoSupervisor, "options", demo.Options("calm", is_fresh=False), raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    supervisor = DemoSupervisor.__new__(DemoSupervisor)
    supervisor.launch = Launch.from_environment()
    long_ago = datetime.now(UTC) - 2 * demo.KEPT_FOR
    for made_at, is_made_again in ((long_ago, True), (datetime.now(UTC), False)):
        (tmp_path / "demo.json").write_text(json.dumps({"made_at": made_at.isoformat()}))
        (tmp_path / "postgres").mkdir(exist_ok=True)
        supervisor.start()
        noted = datetime.fromisoformat(json.loads((tmp_path / "demo.json").read_text())["made_at"])
        assert (tmp_path / "postgres").exists() is not is_made_again
        assert datetime.now(UTC) - noted < timedelta(minutes=1)


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_it_works(tmp_path: Path) -> None:
    running = Running(tmp_path)
    try:
        first = running.start()
        print(f"first page after {first:.0f} s")  # noqa: T201 (a measurement)
        before = running.count("SELECT count(*) FROM employees")
        assert before >= 3000
        status, printed = output_of(running.data_dir)
        assert (status, "is in use by another `make demo`" in printed) == (1, True)
        deadline = time.monotonic() + 60
        while running.count("SELECT count(*) FROM employees") < before + 2:
            assert time.monotonic() < deadline, "no live traffic"
            time.sleep(0.5)
        switch = f"{running.messenger}/switch/direct_api/slow"
        assert requests.post(switch, timeout=10, allow_redirects=False).json()["direct_api"] == "slow"
        running.stop()
        assert running.living() == []
        running.start()
        assert "start with ARGS=--fresh to create it again" in running.printed
        assert running.count("SELECT count(*) FROM employees") >= before + 2
        assert running.count("SELECT count(*) FROM monitoring_alert WHERE resolved_at IS NULL") == 1
        running.stop()
        assert running.living() == []
    finally:
        running.kill()
