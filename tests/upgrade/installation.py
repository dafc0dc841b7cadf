"""A DATA_DIR on which releases take turns, and the tree of an earlier release from the history."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from config.dev.processes import BASE_DIR
from tests.chaos.system import System
from tests.chaos.webhook_load import post


class NoRelease(RuntimeError):
    """The history does not reach back to the revision."""


def tree_of(revision: str, folder: Path) -> Path:
    """Write the tracked files of a revision into the folder; raise NoRelease for one that the history lacks."""
    command = ["git", "archive", revision]
    archive = subprocess.run(command, cwd=BASE_DIR, capture_output=True, check=False)  # noqa: S603 (git)
    if archive.returncode:
        raise NoRelease(f"the history does not reach back to {revision}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


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
