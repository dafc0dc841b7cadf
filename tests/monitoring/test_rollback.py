"""Rollback by command: verified and repeatable, with Redis down and the worker dead."""

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from waffle.models import Switch

from config.postgres.base import parameters
from employees.backfill import batches
from employees.models import BackfillRun, University
from monitoring.management.commands.rollback import SWITCHES
from monitoring.rollout_control import rollback
from profiles.rollout.decision import forget_state, is_processing
from profiles.rollout.models import Change, Flag, Heartbeat, Rollout, UniversityRule
from profiles.rollout.phases import PHASES
from tests.conftest import Phases
from tests.forked import Forked, forked, run_heartbeat
from tests.servers import FaultyServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    forget_state()
    return out.getvalue()


def shell_environment() -> dict[str, str]:
    used = connection.settings_dict
    url = f"postgresql://{used['USER']}@/{used['NAME']}?host={used['HOST']}&port={used['PORT'] or 5432}"
    return os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}


@pytest.fixture
def worker(transactional_db: None) -> Iterator[Forked]:
    with forked(partial(run_heartbeat, "worker")) as process:
        deadline = time.monotonic() + 30
        while not Heartbeat.objects.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield process


# As `manage.py` in another process, with the patience of tests.
_MANAGE = """
import runpy
from django.core import management

def run_patiently(words):
    from tests import limits
    with limits.generous():
        run(words)

run, management.execute_from_command_line = management.execute_from_command_line, run_patiently
runpy.run_path("manage.py", run_name="__main__")
"""


@pytest.mark.xdist_group("slow")
def test_emergency_with_redis_down_and_the_worker_dead(
    phases: Phases,
    redis_server: FaultyServer,
    broker_server: FaultyServer,
    worker: Forked,
) -> None:
    phases(100, 100, 50, 25)
    redis_server.kill()
    broker_server.kill()
    worker.kill()
    Heartbeat.objects.update(seen_at=timezone.now() - timedelta(minutes=10))
    command = [sys.executable, "-c", _MANAGE, "rollback", "emergency", "--reason", "names are wrong"]
    done = subprocess.run(command, env=shell_environment(), capture_output=True, text=True, check=False)  # noqa: S603
    # If it waited for the worker, it would not be verified.
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "Emergency stop: off → on",
        "probe lookup: no name found; the cache was not queried",
        "silent processes, not counted: worker-",
    ):
        assert line in done.stdout
    assert {flag.percent for flag in Flag.objects.filter(name__in=PHASES)} == {0}
    revision = Rollout.current().revision
    assert "No changes" in run("rollback", "emergency", "--reason", "again")
    assert Rollout.current().revision == revision
    with pytest.raises(CommandError, match="The emergency stop is on"):
        run("waffle_flag", PHASES[2], "--percent", "10", "--reason", "by the old script")
    assert Switch.objects.get(name="emergency_stop").active
    assert "Phase 3, Gradual transition: 0% → 1%" in run("rollout", "resume", "--reason", "names are right")


@pytest.mark.usefixtures("steady_heartbeats")
def test_it_fails_while_a_living_process_is_behind(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    phases(100, 100, 50)
    Heartbeat.objects.create(process="web-stuck-1", revision=0)
    monkeypatch.setattr(rollback, "VERIFIED_WITHIN", 0.2)
    with pytest.raises(CommandError, match="behind: web-stuck-1") as failed:
        run("rollback", "emergency", "--reason", "r")
    assert failed.value.returncode == 3


@contextmanager
def locked(table: str) -> Iterator[threading.Timer]:
    """Hold a table's lock during the block, but not longer than the timer that it returns lives."""
    with psycopg.connect(**parameters()) as holder:
        holder.execute(f"LOCK TABLE {table}".encode())
        timer = threading.Timer(2 * PATIENCE, holder.rollback)
        timer.start()
        try:
            yield timer
        finally:
            timer.cancel()


@pytest.mark.long
@pytest.mark.usefixtures("patient_cancellations")
@pytest.mark.parametrize("table", ["backfill_runs", "rollout_heartbeat"])
def test_a_check_that_waits_for_a_lock_fails(
    phases: Phases, superadmin: User, client: Client, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback, "VERIFIED_WITHIN", 0.2)
    monkeypatch.setattr(rollback, "_SPARE_SECONDS", 0.2)
    phases(100, 100, 50)
    client.force_login(superadmin)
    with locked(table) as lock:
        assert_doubted(client, "PostgreSQL did not answer the check")
        assert lock.is_alive()
    assert Switch.objects.get(name="emergency_stop").active


def assert_doubted(client: Client, doubt: str) -> None:
    with pytest.raises(CommandError, match=doubt) as failed:
        run("rollback", "emergency", "--reason", "r")
    assert failed.value.returncode == 3
    answer = client.post("/monitoring/rollout/emergency", {"reason": "r"}, content_type="application/json")
    assert (answer.status_code, doubt in str(answer.json())) == (200, True)
    page = client.post("/admin/emergency/", {"reason": "r", "word": "stop"})
    assert (page.status_code, doubt in page.content.decode()) == (200, True)


@pytest.mark.usefixtures("patient_cancellations", "direct")
@pytest.mark.parametrize("table", ["direct_answers", "direct_api_pace"])
def test_a_stop_is_verified_while_the_direct_api_waits_for_a_lock(
    phases: Phases, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback, "PROBE_SECONDS", 0.2)
    phases(100, 100, 50)
    with locked(table) as lock:
        assert "no name found; the cache was not queried" in run("rollback", "emergency", "--reason", "r")
        assert lock.is_alive()


@pytest.mark.usefixtures("direct")
def test_a_probe_that_fails_does_not_verify_a_stop(phases: Phases, superadmin: User, client: Client) -> None:
    phases(100, 100, 50)
    client.force_login(superadmin)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE direct_answers RENAME TO renamed")
        try:
            assert_doubted(client, "the probe lookup was answered by the cache, or failed")
        finally:
            cursor.execute("ALTER TABLE renamed RENAME TO direct_answers")


@pytest.mark.parametrize("part", ["webhook", "cache", "monitoring"])
def test_a_part_alone(phases: Phases, client: Client, settings: Settings, part: str) -> None:
    settings.DEBUG = True
    phases(100, 100, 50)
    switch = SWITCHES[part]
    run("rollback", part, "--reason", "r", "--dry-run")
    assert Switch.objects.get(name=switch).active
    run("rollback", part, "--reason", "r")
    assert not Switch.objects.get(name=switch).active
    assert "No changes" in run("rollback", part, "--reason", "r")
    assert is_processing() == (part != "webhook")
    assert client.get("/monitoring/profiles/coverage").status_code == (404 if part == "monitoring" else 200)
    run("rollback", part, "--undo", "--reason", "r")
    assert Switch.objects.get(name=switch).active
    assert [change.action for change in Change.objects.all()[:2]] == ["switch", "switch"]


@pytest.mark.parametrize("words", [("emergency",), ("cache",), ("schema",), ("emergency", "--rehearse")])
def test_it_refuses_without_a_reason(phases: Phases, words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run("rollback", *words)


def test_a_rehearsal_restores_and_is_recorded(phases: Phases) -> None:
    phases(100, 100, 50)
    words = ("rollback", "emergency", "--rehearse", "--university", "7", "--reason", "drill")
    with pytest.raises(CommandError, match="There is no university 7"):
        run(*words)
    University.objects.create(pk=7, name="Вуз")
    assert "Вуз: moved to the direct API after" in run(*words)
    assert not UniversityRule.objects.exists()
    assert Flag.objects.get(name=PHASES[2]).percent == 50
    change = Change.objects.latest("revision")
    assert (change.action, change.after["university"]) == ("rehearsal", 7)
    assert change.after["out_s"] <= change.after["total_s"] < 60


def test_an_expired_rule_is_no_denial(phases: Phases) -> None:
    phases(100, 100, 50)
    University.objects.create(pk=7, name="Вуз")
    words = ("rollback", "emergency", "--rehearse", "--university", "7", "--reason", "drill")
    rule = UniversityRule.objects.create(university_id=7, reason="r", expires_at=timezone.now() + timedelta(hours=1))
    with pytest.raises(CommandError, match="A rule already excludes Вуз"):
        run(*words)
    UniversityRule.objects.filter(pk=rule.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    assert "Вуз: moved to the direct API after" in run(*words)
    assert not UniversityRule.objects.exists()


def test_an_emergency_pauses_the_backfill_and_a_resume_leaves_it_paused(phases: Phases, university: University) -> None:
    phases(100, 100, 50)
    started = batches.start()
    run("rollback", "emergency", "--reason", "x" * 300, "--dry-run")
    assert BackfillRun.objects.get().status == "running"
    assert f"backfill {started.pk} is paused" in run("rollback", "emergency", "--reason", "wrong names")
    paused = BackfillRun.objects.get()
    assert (paused.status, paused.paused_because) == ("paused", "wrong names")
    with pytest.raises(CommandError, match="The emergency stop is on until somebody resumes the rollout"):
        run("backfill", "resume")
    assert "stays paused (wrong names)" in run("rollout", "resume", "--reason", "right names")
    assert BackfillRun.objects.get().status == "paused"
    assert "done" in run("backfill", "resume")


def test_a_batch_checks_the_latch_itself(phases: Phases) -> None:
    started = batches.start()
    Switch.objects.filter(name="emergency_stop").update(active=True)
    assert not batches.run_batch(started)
    assert BackfillRun.objects.get().status == "paused"


def test_a_second_emergency_restores_what_was_undone(phases: Phases) -> None:
    phases(100, 100, 50)
    run("rollback", "emergency", "--reason", "r")
    with pytest.raises(CommandError, match="The emergency stop is on"):
        run("rollback", "webhook", "--undo", "--reason", "r")
    Switch.objects.filter(name="webhook_processing").update(active=True)
    assert "Processing of updates: on → off" in run("rollback", "emergency", "--reason", "r")
    assert "Phase 3, Gradual transition: 0% → 1%" in run("rollout", "resume", "--reason", "r")
