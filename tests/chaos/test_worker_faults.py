"""Faults that once stopped the worker or its alerts while everything was reported as well."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest

from config.dev.processes import BASE_DIR
from tests.chaos.system import System
from tests.config.test_broker import SECRET, UNREADABLE
from tests.waiting import seconds_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow"), pytest.mark.timeout(240), pytest.mark.alone]


def query(system: System, sql: str) -> Any:
    with system.database() as database:
        row = database.execute(sql).fetchone()
    return row[0] if row else None


def checked_at(system: System) -> datetime | None:
    found: datetime | None = query(
        system, "SELECT at FROM monitoring_sample WHERE name = 'alerts_checked' ORDER BY id DESC LIMIT 1"
    )
    return found


def await_check(system: System, seconds: float) -> float:
    """Wait for a check of the alerts that begins from now on."""
    before = checked_at(system)
    return seconds_until(lambda: checked_at(system) != before, seconds)


def ready(system: System) -> dict[str, Any]:
    client = HTTPConnection("127.0.0.1", system.port, timeout=10)
    client.request("GET", "/ready")
    answer: dict[str, Any] = json.loads(client.getresponse().read())
    client.close()
    return answer


def health(system: System) -> str:
    environment = {**system.environment, "DATA_DIR": str(system.data_dir)}
    argv = [sys.executable, "manage.py", "health"]
    done = subprocess.run(argv, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout


@pytest.fixture
def system(worked: System) -> System:
    await_check(worked, 60)
    return worked


def test_alerts_that_are_not_checked_are_reported(system: System) -> None:
    assert ready(system)["status"] == "ok"
    system.send("beat", SIGSTOP)
    try:
        # The shortest time after which a check is late.
        seconds = seconds_until(lambda: ready(system)["status"] == "degraded", 150)
        assert seconds > 100
        assert "alerts were last checked" in ready(system)["reason"]
        line = next(line for line in health(system).splitlines() if line.startswith("alerts"))
        assert "alerts were last checked" in line
    finally:
        system.send("beat", SIGCONT)
    seconds_until(lambda: ready(system)["status"] == "ok", 30)


def test_a_lock_stops_neither_alerts_nor_health(system: System) -> None:
    with system.database() as session:
        session.execute("SET application_name = 'psql'")
        pid = session.info.backend_pid
        session.execute("BEGIN")
        session.execute("LOCK TABLE webhook_inbox, profile_cache IN ACCESS EXCLUSIVE MODE")
        locked_at = time.monotonic()
        while time.monotonic() - locked_at < 33:
            assert await_check(system, 30) < 30
        seconds_until(lambda: _lock_alert(system), 30)
        assert _lock_alert(system)["pid"] == pid
        printed = health(system)
        assert f"PostgreSQL process {pid} (psql, idle in transaction) has held a lock for" in printed
        session.execute("ROLLBACK")
    await_check(system, 10)


def _lock_alert(system: System) -> Any:
    return query(system, "SELECT data FROM monitoring_alert WHERE kind = 'lock_held' AND resolved_at IS NULL")


def test_damaged_messages_do_not_stop_the_worker(system: System) -> None:
    broker = system.broker()
    for body in UNREADABLE.values():
        broker.lpush("celery", body)
    await_check(system, 20)
    for key in ("unacked_index", "unacked"):
        broker.delete(key)
        broker.set(key, SECRET)
        await_check(system, 40)
    log = (system.data_dir / "logs" / "worker.log").read_text()
    assert "message_rejected" in log
    assert SECRET not in log


@contextmanager
def second_beat(system: System, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    [pid] = system.pids("beat")
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    inherited = dict(entry.decode().split("=", 1) for entry in entries if entry)
    argv = [sys.executable, "-m", "celery", "--app", "config.celery", "--quiet", "beat", "--schedule"]
    argv.append(str(system.folder / "second-schedule"))
    with (system.folder / "second.log").open("wb") as log:
        child = subprocess.Popen(argv, cwd=BASE_DIR, env=inherited | environment, stdout=log, stderr=log)  # noqa: S603
    try:
        seconds_until((system.folder / "second-schedule").exists, 30)
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("number", [SIGSTOP, SIGKILL])
def test_a_second_beat_takes_over(system: System, number: Any) -> None:
    with second_beat(system):
        await_check(system, 10)
        [pid] = [pid for pid in system.pids("beat") if _is_leader(system, pid)]
        os.kill(pid, number)
        # The worker may have an earlier message: only the second check is one of the second beat.
        assert await_check(system, 20) + await_check(system, 20) < 20
        if number == SIGSTOP:
            os.kill(pid, SIGCONT)
            await_check(system, 10)
    await_check(system, 20)


def _is_leader(system: System, pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().find(b"second-schedule") < 0


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_beat_whose_clock_is_set_goes_on(system: System, ahead: float) -> None:
    """Also as the only one that leads, while the other beat is stopped."""
    with second_beat(system, PGAPPNAME="directory-second"):
        [pid] = [pid for pid in system.pids("beat") if _is_leader(system, pid)]
        os.kill(pid, SIGSTOP)
        try:
            await_check(system, 20)
            await_check(system, 20)
            system.set_clock("second", ahead)
            for _ in range(3):
                await_check(system, 12)
        finally:
            os.kill(pid, SIGCONT)
            system.set_clock("second", 0.0)
    await_check(system, 20)
