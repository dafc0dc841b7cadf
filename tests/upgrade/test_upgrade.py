"""`make run` of the previous release, then of this one, then of the previous one again, all on one DATA_DIR.

The previous release comes from the history (PREVIOUS=revision for another one). `make test-integration` runs it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.dev.processes import BASE_DIR
from tests.upgrade.installation import Installation, NoRelease, tree_of, wait_until

REVISION = os.environ.get("PREVIOUS", "57e2322")
PEOPLE, HIRED = 30, 12

pytestmark = [pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tree of the previous release."""
    try:
        return tree_of(REVISION, tmp_path_factory.mktemp("previous"))
    except NoRelease as error:
        pytest.skip(str(error))


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
    installation.manage("backfill", "start", "--reason", "upgrade", "--detach")
    installation.manage("backfill", "pause", "--reason", "the upgrade")
    installation.send("worker", signal.SIGCONT)
    installation.manage("rollout", "pause", "--reason", "the upgrade", "--by", "olga")
    alerts = "SELECT kind, severity, message, fired_at FROM monitoring_alert WHERE resolved_at IS NULL ORDER BY id"

    def is_one_open_after_a_check() -> bool:
        installation.manage("check_alerts")
        return bool(installation.rows(alerts))

    # The first check may only measure; the worker's own comes at most once a minute.
    wait_until(is_one_open_after_a_check)
    open_alerts = installation.rows(alerts)

    upgrade(installation)

    assert set(open_alerts) <= set(installation.rows(alerts.replace("WHERE resolved_at IS NULL ", "")))
    assert installation.rows("SELECT percent FROM rollout_flag WHERE name = 'phase3_cache_first'") == [(25,)]
    # A backfill gives people names, so it waits while the rollout is held.
    installation.manage("backfill", "resume", "--detach", refused=1)
    installation.manage("rollout", "resume", "--reason", "after the upgrade", "--by", "olga")
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
