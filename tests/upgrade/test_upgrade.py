"""`make run` of the previous release, then of this one, then of the previous one again, all on one DATA_DIR.

The previous release comes from the history (PREVIOUS=revision for another one). `make test-integration` runs it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from config.dev.processes import BASE_DIR
from tests.chaos.sending import post
from tests.chaos.system import System

REVISION = os.environ.get("PREVIOUS", "57e2322")
PEOPLE, HIRED = 30, 12

pytestmark = [pytest.mark.timeout(600)]


class Installation(System):
    """One DATA_DIR, on which releases take turns."""

    def __init__(self) -> None:
        super().__init__(WEB_WORKERS="1")

    def run(self, tree: Path) -> None:
        self.tree = tree
        self.module = "config.dev.supervisor" if (tree / "config" / "dev").exists() else "config.supervisor"
        self.start()

    def halt(self) -> None:
        """Stop the release that runs; what it stored stays."""
        assert self.supervisor
        self.supervisor.terminate()
        assert self.supervisor.wait(30) == 0
        assert self._living() == []

    def manage(self, *arguments: str, refused: int = 0) -> str:
        command = [sys.executable, "manage.py", *arguments]
        ended = subprocess.run(  # noqa: S603 (ours)
            command, cwd=self.tree, env=self.environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == refused, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def api(self, path: str, body: dict[str, Any] | None = None, token: str = "") -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(f"http://127.0.0.1:{self.port}{path}", data, headers), timeout=15) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def token(self) -> str:
        login = {"username": "admin", "password": self.environment["DJANGO_SUPERUSER_PASSWORD"]}
        status, pair = self.api("/api/token", login)
        assert status == 200, pair
        return str(pair["access"])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.database() as database:
            return database.execute(query).fetchall()

    def stored(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return what no upgrade may change: the directory, profiles, updates, percentages, the audit and its texts."""
        queries = {
            "employees": "SELECT id, phone, max_id, first_name, last_name, university_id FROM employees ORDER BY id",
            "profiles": "SELECT user_id, first_name, last_name, last_updated FROM profile_cache ORDER BY user_id",
            "updates": "SELECT id, body, state FROM webhook_inbox ORDER BY id",
            "flags": "SELECT name, percent, everyone FROM rollout_flag ORDER BY name",
            "switches": "SELECT name, active FROM waffle_switch ORDER BY name",
            "changes": "SELECT revision, by, action, reason FROM rollout_change ORDER BY id",
            "plans": "SELECT phase, percent, state, due_at FROM rollout_plan ORDER BY id",
            "backfills": "SELECT id, status, rows_changed FROM backfill_runs ORDER BY id",
            "rights": "SELECT g.name, p.codename FROM auth_group g JOIN auth_group_permissions h ON h.group_id = g.id"
            " JOIN auth_permission p ON p.id = h.permission_id ORDER BY 1, 2",
        }
        return {name: self.rows(query) for name, query in queries.items()}

    def receive(self, first: int, count: int) -> None:
        """Send updates of new people; wait until they are processed, which the emergency stop defers."""
        for number in range(first, first + count):
            sender = {"user_id": f"u{number}", "first_name": f"Имя{number}", "last_name": f"Фамилия{number}"}
            update = {"type": "message_new", "message": {"from": sender}}
            assert post(self, json.dumps(update).encode()).answer == 200
        if not self.rows("SELECT 1 FROM waffle_switch WHERE name = 'emergency_stop' AND active"):
            self.empty_inbox()

    def empty_inbox(self) -> None:
        wait_until(lambda: not self.rows("SELECT 1 FROM webhook_inbox WHERE finished_at IS NULL"))

    def hire(self, first: int, count: int) -> None:
        token = self.token()
        for number in range(first, first + count):
            body = {"phone": f"+7916{number:07d}", "max_id": f"u{number}", "university_id": 1}
            status, employee = self.api("/employees", body, token)
            assert status == 201, employee


def wait_until(is_true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tree of the previous release."""
    command = ["git", "archive", REVISION]
    archive = subprocess.run(  # noqa: S603 (git)
        command, cwd=BASE_DIR, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history does not reach back to {REVISION}")
    tree = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(tree, filter="data")
    return tree


@pytest.fixture
def installation(previous: Path) -> Iterator[Installation]:
    """A previous release with people, employees, groups and phases 1 and 2 in force for everybody."""
    installation = Installation()
    try:
        installation.run(previous)
        university = {"name": "Университет", "inn": "7707083893", "kpp": "773601001"}
        assert installation.api("/universities", university, installation.token())[0] == 201
        installation.receive(0, PEOPLE)
        for phase in ("1", "2"):
            set_percent(installation, phase, "100")
        installation.hire(0, HIRED)
        yield installation
    finally:
        installation.stop()


def set_percent(installation: Installation, phase: str, percent: str) -> None:
    words = ["--phase", phase, "--percent", percent, "--by", "olga", "--reason", f"phase {phase}", "--force"]
    installation.manage("rollout", "set", *words)


def upgrade(installation: Installation) -> None:
    """Check that this release has all of it, serves, and that the previous one goes on where this one ended."""
    before = installation.stored()
    previous = installation.tree
    installation.halt()

    installation.run(BASE_DIR)
    assert installation.stored() == before
    assert "No planned migration operations" in installation.manage("migrate", "--plan")
    installation.receive(PEOPLE, 5)
    installation.hire(HIRED, 3)
    assert "revision" in installation.manage("rollout", "status")
    changed = installation.stored()
    installation.halt()

    installation.run(previous)
    assert installation.stored() == changed
    installation.receive(PEOPLE + 5, 5)
    installation.hire(HIRED + 3, 3)
    assert len(installation.rows("SELECT 1 FROM employees")) == HIRED + 6
    installation.halt()

    installation.run(BASE_DIR)
    assert len(installation.rows("SELECT 1 FROM employees")) == HIRED + 6


def test_a_rollout_at_25_percent_with_an_open_backfill_and_alerts(installation: Installation) -> None:
    set_percent(installation, "3", "25")
    installation.rows("UPDATE employees SET first_name = 'Неизвестно', profile_source = 'default' RETURNING id")
    # A dozen rows are done before anybody could pause.
    installation.send("worker", signal.SIGSTOP)
    installation.manage("backfill", "start", "--detach")
    installation.manage("backfill", "pause", "--reason", "the upgrade")
    installation.send("worker", signal.SIGCONT)
    installation.manage("rollout", "pause", "--reason", "the upgrade", "--by", "olga")
    installation.manage("check_alerts")
    alerts = "SELECT kind, severity, message, fired_at FROM monitoring_alert WHERE resolved_at IS NULL ORDER BY id"
    wait_until(lambda: bool(installation.rows(alerts)))
    open_alerts = installation.rows(alerts)

    upgrade(installation)

    assert set(open_alerts) <= set(installation.rows(alerts.replace("WHERE resolved_at IS NULL ", "")))
    assert installation.rows("SELECT percent FROM rollout_flag WHERE name = 'phase3_cache_first'") == [(25,)]
    installation.manage("backfill", "resume", "--detach")
    wait_until(lambda: installation.rows("SELECT status FROM backfill_runs")[0][0] == "done", 60)
    named = "SELECT count(*) FROM employees WHERE profile_source = 'webhook' AND first_name <> 'Неизвестно'"
    assert installation.rows(named)[0][0] >= HIRED


def test_an_emergency_stop_stays_latched(installation: Installation) -> None:
    set_percent(installation, "3", "25")
    installation.manage("rollback", "emergency", "--reason", "names are wrong", "--by", "olga")

    upgrade(installation)

    refused = installation.manage(
        "rollout", "set", "--phase", "3", "--percent", "5", "--reason", "too early", "--by", "olga", refused=1
    )
    assert "resume" in refused
    installation.manage("rollout", "resume", "--reason", "mended", "--by", "olga")
    installation.empty_inbox()


def test_a_planned_step_is_still_planned(installation: Installation) -> None:
    words = ["--phase", "3", "--percent", "5", "--at", "2099-01-01T03:00", "--reason", "tonight", "--by", "olga"]
    installation.manage("rollout", "schedule", *words)

    upgrade(installation)

    assert installation.rows("SELECT state FROM rollout_plan") == [("planned",)]


def test_a_schema_that_was_rolled_back_stays_so_and_comes_back(installation: Installation) -> None:
    sources = "SELECT id, profile_source FROM employees ORDER BY id"
    known = installation.rows(sources)
    for phase in ("2", "1"):
        set_percent(installation, phase, "0")
    installation.manage("rollback", "schema", "--reason", "the contract ends", "--by", "olga")
    before = installation.rows("SELECT id, phone, first_name FROM employees ORDER BY id")
    installation.halt()

    installation.run(BASE_DIR)

    assert installation.rows("SELECT id, phone, first_name FROM employees ORDER BY id") == before
    assert installation.rows(sources) == known
    installation.receive(PEOPLE, 5)
    installation.hire(HIRED, 3)
