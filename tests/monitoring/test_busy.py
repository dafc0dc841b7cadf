"""While the rollout is locked every surface refuses within three seconds, and an emergency stop still latches."""

import io
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient
from waffle.models import Switch

from employees.backfill import batches
from employees.models import BackfillRun, University
from monitoring.dashboard.actions import confirmation
from monitoring.rollout_control import controller
from profiles.rollout import lock
from profiles.rollout.decision import decide, forget_state
from profiles.rollout.lock import Busy
from profiles.rollout.models import Change, Flag, Plan
from profiles.rollout.phases import PHASES
from tests.conftest import Phases
from tests.rollout.changing import change, plan_step

HELD = r"Another change is in progress: PostgreSQL process \d+ \(psql, idle in transaction\) has held the lock"

pytestmark = pytest.mark.django_db(transaction=True)


def other_session() -> psycopg.Connection[tuple[object, ...]]:
    parts = connection.get_connection_params()
    return psycopg.connect(f"host={parts['host']} user={parts['user']} dbname={parts['dbname']} application_name=psql")


@pytest.fixture
def held(phases: Phases, university: University) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A forgotten psql session that holds the row; phase 3 is at 4%."""
    phases(100, 100, 5)
    change("set", phase=3, percent=4)
    with other_session() as session:
        session.execute("SELECT * FROM rollout_rollout FOR UPDATE")
        yield session


def command(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    forget_state()
    return out.getvalue()


def by_api(api: APIClient) -> None:
    answer = api.post("/monitoring/rollout/set", {"phase": 3, "percent": 1, "reason": "r"}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "JOB_RUNNING")
    raise Busy(answer.json()["error"]["message"])


def by_admin(api: APIClient) -> None:
    client = Client()
    client.force_login(User.objects.get(username="root"))
    flag = Flag.objects.get(name=PHASES[2])
    form = {"percent": "1", "reason": "r", "note": ""}
    answer = client.post(f"/admin/rollout/flag/{flag.pk}/change/", form)
    raise Busy(answer.context["adminform"].form.non_field_errors()[0])


def by_save(api: APIClient) -> None:
    flag = Flag.objects.get(name=PHASES[2])
    flag.percent = 1
    flag.save()


SURFACES = [
    lambda api: command("rollout", "set", "--phase", "3", "--percent", "1", "--reason", "r"),
    lambda api: command("rollout", "pause", "--reason", "r"),
    lambda api: command("rollout", "schedule", "--phase", "3", "--percent", "5", "--at", "1h", "--reason", "r"),
    lambda api: command("rollback", "cache", "--reason", "r"),
    lambda api: command("waffle_flag", PHASES[2], "--percent", "1", "--reason", "r"),
    lambda api: command("rollout", "switch", "profile_cache", "off", "--reason", "r"),
    by_api,
    by_admin,
    by_save,
]


@pytest.mark.long
@pytest.mark.parametrize("change", SURFACES)
def test_each_surface_names_who_holds_the_lock(
    held: object, api: APIClient, change: Callable[[APIClient], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_TIMEOUT_MS", 100)
    with pytest.raises((ValidationError, CommandError), match=HELD):
        change(api)
    assert Flag.objects.get(name=PHASES[2]).percent == 4


def test_it_refuses_in_time(held: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOCK_TIMEOUT_MS", 100)
    started = time.monotonic()
    with pytest.raises(Busy, match=HELD):
        change("set", phase=3, percent=1)
    # Without a limit, it would wait for as long as the test lets it.
    assert time.monotonic() - started < 30


def test_an_emergency_still_latches(
    held: psycopg.Connection[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_TIMEOUT_MS", 100)
    started = time.monotonic()
    with pytest.raises(CommandError, match=f"^Stopped: names come from the direct API.*{HELD}") as failed:
        command("rollback", "emergency", "--reason", "names are wrong")
    assert failed.value.returncode == 3
    assert time.monotonic() - started < 30
    assert decide(None).reason == "KILLED"
    assert Change.objects.first().action == "latch"  # type: ignore[union-attr]
    held.rollback()
    assert "Phase 3, Gradual transition: 4% → 0%" in command("rollback", "emergency", "--reason", "names are wrong")
    assert "Phase 3, Gradual transition: 0% → 1%" in command("rollout", "resume", "--reason", "mended")


def test_an_emergency_by_the_api_still_latches(held: object, api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOCK_TIMEOUT_MS", 100)
    answer = api.post("/monitoring/rollout/emergency", {"reason": "r"}, format="json")
    assert answer.status_code == 409
    assert answer.json()["error"]["message"].startswith("Stopped: names come from the direct API")
    assert Switch.objects.get(name="emergency_stop").active


def test_an_emergency_by_the_page_still_latches(
    held: object, superadmin: User, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_TIMEOUT_MS", 100)
    client.force_login(superadmin)
    assert client.get("/admin/emergency/").status_code == 200
    page = client.post("/admin/emergency/", {"word": confirmation(), "reason": "r"})
    assert page.context["refusal"].startswith("Stopped: names come from the direct API")
    assert Switch.objects.get(name="emergency_stop").active


def test_an_emergency_does_not_wait_for_a_batch_of_the_backfill(phases: Phases) -> None:
    phases(100, 100, 5)
    run = batches.start()
    with other_session() as session:
        session.execute("SELECT * FROM backfill_runs FOR UPDATE")
        command("rollback", "emergency", "--reason", "r")
        assert BackfillRun.objects.get().status == "running"
    assert not batches.run_batch(run)
    assert BackfillRun.objects.get().status == "paused"


def test_an_emergency_does_not_wait_for_a_step_that_fires(phases: Phases) -> None:
    phases(100, 100, 5)
    plan = plan_step(3, 25, timezone.now() + timedelta(hours=1))
    with other_session() as session:
        session.execute("SELECT * FROM rollout_plan FOR UPDATE")
        command("rollback", "emergency", "--reason", "r")
    outcome = controller.fire(Plan.objects.get(pk=plan.pk))
    assert outcome.startswith("Cancelled: the rollout has changed since the step was planned")
    assert Flag.objects.get(name=PHASES[2]).percent == 0


def test_a_planned_step_waits_for_the_next_run(
    held: psycopg.Connection[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_TIMEOUT_MS", 100)
    held.rollback()
    plan_step(3, 1, timezone.now() - timedelta(seconds=1))
    held.execute("SELECT * FROM rollout_rollout FOR UPDATE")
    controller.fire_due()
    assert Plan.objects.get().state == "planned"
    held.rollback()
    controller.fire_due()
    assert Plan.objects.get().state == "done"
