"""The way back by commands: with Redis down and the worker dead, proven, repeatable; and the schema's."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from waffle.models import Switch

from employees.models import Employee, University
from monitoring import way_back
from profiles.rollout.decision import forget_state, is_processing
from profiles.rollout.models import PHASES, Change, Flag, Heartbeat, Rollout, Scope
from tests.conftest import Phases
from tests.servers import FaultyServer

WORKER = """
import sys, threading, django
django.setup()
from profiles.rollout.heartbeat import pulse
pulse.start("worker")
threading.Event().wait()
"""

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
def worker() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", WORKER], env=shell_environment())  # noqa: S603
    deadline = time.monotonic() + 30
    while not Heartbeat.objects.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


@pytest.mark.alone
@pytest.mark.xdist_group("slow")
def test_emergency_with_redis_down_and_the_worker_dead(
    phases: Phases,
    redis_server: FaultyServer,
    broker_server: FaultyServer,
    worker: subprocess.Popen[bytes],
) -> None:
    phases(100, 100, 50, 25)
    redis_server.kill()
    broker_server.kill()
    worker.kill()
    command = [sys.executable, "manage.py", "rollback", "emergency", "--reason", "names are wrong"]
    started = time.monotonic()
    done = subprocess.run(command, env=shell_environment(), capture_output=True, text=True, check=False)  # noqa: S603
    took = time.monotonic() - started
    assert (done.returncode, done.stderr) == (0, "")
    assert took < 5
    for told in ("emergency_stop: off → on", "probe lookup: answered by default", "silent, not counted: worker-"):
        assert told in done.stdout
    assert {flag.percent for flag in Flag.objects.filter(name__in=PHASES)} == {0}
    revision = Rollout.current().revision
    assert "Nothing to change" in run("rollback", "emergency", "--reason", "again")
    assert Rollout.current().revision == revision
    with pytest.raises(CommandError, match="latched"):
        run("waffle_flag", PHASES[2], "--percent", "10")
    assert Switch.objects.get(name="emergency_stop").active
    assert "phase3_cache_first: 0 % → 1 %" in run("rollout", "resume", "--reason", "names are right")


def test_it_fails_when_a_living_process_does_not_follow(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    phases(100, 100, 50)
    Heartbeat.objects.create(process="web-stuck-1", revision=0)
    monkeypatch.setattr(way_back.await_convergence, "__defaults__", (0.2,))
    with pytest.raises(CommandError, match="behind: web-stuck-1") as failed:
        run("rollback", "emergency", "--reason", "r")
    assert failed.value.returncode == 3


@pytest.mark.parametrize("part", ["webhook", "cache", "monitoring"])
def test_a_part_alone(phases: Phases, client: Client, settings: Settings, part: str) -> None:
    settings.DEBUG = True
    phases(100, 100, 50)
    switch = way_back._SWITCHES[part]
    run("rollback", part, "--reason", "r", "--dry-run")
    assert Switch.objects.get(name=switch).active
    run("rollback", part, "--reason", "r")
    assert not Switch.objects.get(name=switch).active
    assert "Nothing to change" in run("rollback", part, "--reason", "r")
    assert is_processing() == (part != "webhook")
    assert client.get("/monitoring/profiles/coverage").status_code == (404 if part == "monitoring" else 200)
    run("rollback", part, "--undo", "--reason", "r")
    assert Switch.objects.get(name=switch).active
    assert [change.action for change in Change.objects.all()[:2]] == ["switch", "switch"]


@pytest.mark.parametrize("words", [("emergency",), ("cache",), ("schema",), ("emergency", "--rehearse")])
def test_it_refuses_without_a_reason(phases: Phases, words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run("rollback", *words)


def test_a_rehearsal_restores_and_is_remembered(phases: Phases) -> None:
    phases(100, 100, 50)
    told = run("rollback", "emergency", "--rehearse", "--university", "7", "--reason", "drill")
    assert "University 7 out after" in told
    assert not Scope.objects.exists()
    assert Flag.objects.get(name=PHASES[2]).percent == 50
    change = Change.objects.latest("revision")
    assert (change.action, change.after["university"]) == ("rehearsal", 7)
    assert change.after["total_s"] < 5


@pytest.fixture
def archived(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    settings.DATA_DIR = tmp_path
    yield tmp_path / "archives"
    call_command("migrate", "employees", verbosity=0)


def provenance() -> list[tuple[str, str | None]]:
    return [(e.profile_source, str(e.profile_last_updated)) for e in Employee.objects.order_by("pk")]


SCHEMA_WAYS: list[Callable[[], object]] = [
    lambda: run("rollback", "schema", "--reason", "r"),
    lambda: call_command("migrate", "employees", "0001", verbosity=0),
]


@pytest.mark.parametrize("go_back", SCHEMA_WAYS, ids=["rollback", "migrate"])
def test_the_schema_goes_back_with_an_archive_and_forward_with_its_content(
    phases: Phases, university: University, archived: Path, go_back: Callable[[], object]
) -> None:
    now = timezone.now()
    for number, source in enumerate(["webhook", "api", "manual"]):
        updated = now if source != "manual" else None
        Employee.objects.create(
            phone=f"+7916000000{number}", university=university, profile_source=source, profile_last_updated=updated
        )
    before = provenance()
    phases(100, 100, 1)
    with pytest.raises(CommandError, match="The schema goes back only with every percentage at 0: phase 1 is at 100"):
        go_back()
    assert provenance() == before
    phases()
    go_back()
    with connection.cursor() as cursor:
        cursor.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'employees'")
        assert "profile_source" not in {row[0] for row in cursor.fetchall()}
    (archive,) = archived.iterdir()
    assert len(archive.read_text().splitlines()) == 3
    call_command("migrate", "employees", verbosity=0)
    assert provenance() == before
    assert [path.suffix for path in archived.iterdir()] == [".restored"]


def test_a_plan_of_the_schema_does_nothing(phases: Phases, archived: Path) -> None:
    assert "Dry run: nothing was done" in run("rollback", "schema", "--reason", "r", "--dry-run")
    assert not archived.exists()
