"""A commit of the worker may raise although it is stored: it gives up on a lost standby, or the connection breaks.

Whichever commit of a task that is, the task's next runs finish the work as if nothing had happened.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django.fixtures import Settings

from config.postgres import base
from config.postgres.base import DatabaseWrapper
from employees import max_id_search, naming
from employees.backfill import batches
from employees.models import BackfillBatch, Employee, MaxIdJob, University, UnresolvedName
from monitoring.alerts import channels, outbox
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert, Delivery
from monitoring.rollout_control import controller
from profiles import cache, comparison
from profiles.models import Comparison, Profile, Tombstone, WaitingComparison
from profiles.personal_data import erasure
from profiles.rollout.models import Change, Plan
from profiles.tasks import refill_cache
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile
from tests.rollout.changing import plan_step
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]

PHONES = [f"+7916{number:07}" for number in range(5)]
MOST_COMMITS = 6
Job = Callable[[], object]


class Late:
    """Count the commits, and let one of them raise after it is stored; 0 means none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number, self.count = 0, 0
        commit = DatabaseWrapper._commit

        def late(wrapper: Any) -> None:
            commit(wrapper)
            # A commit that does not wait for the standby is never late.
            self.count += (waits := base._waits_for_standby.get())
            if waits and self.count == self.number:
                wrapper.connection.close()
                raise OperationalError("canceling statement at the deadline")

        monkeypatch.setattr(DatabaseWrapper, "_commit", late)

    def run(self, job: Job, number: int = 0, times: int = 1) -> None:
        """Run the job as the worker does, which logs an exception; its commit with this number is late."""
        for _ in range(times):
            self.number, self.count, number = number, 0, 0
            with suppress(OperationalError):
                job()


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    return Late(monkeypatch)


def employees(count: int) -> list[Employee]:
    university = University.objects.create(name="Университет")
    return [Employee.objects.create(phone=phone, max_id=phone[1:], university=university) for phone in PHONES[:count]]


@pytest.mark.parametrize("number", range(1, MOST_COMMITS + 1))
@pytest.mark.parametrize("is_undo_late", [False, True])
@pytest.mark.parametrize("count", [1, 4])
def test_a_backfill_and_its_undo(
    late: Late, monkeypatch: pytest.MonkeyPatch, count: int, is_undo_late: bool, number: int
) -> None:
    monkeypatch.setattr(batches, "MIN_BATCH", 2)
    monkeypatch.setattr(batches, "MAX_BATCH", 2)
    for employee in employees(count):
        add_profile(employee.max_id or "")
    run = batches.start(batch_size=2, pause_ms=0)

    def work() -> None:
        batches.work_on_open_run(time.monotonic() + PATIENCE)

    late.run(work, 0 if is_undo_late else number, times=3)
    run.refresh_from_db()
    assert (run.status, run.rows_seen, run.rows_changed) == ("done", count, count)
    assert set(BackfillBatch.objects.values_list("status", flat=True)) == {"done"}
    assert Employee.objects.filter(first_name="Иван").count() == count
    batches.act("undo", run, "r")
    late.run(work, number if is_undo_late else 0, times=3)
    run.refresh_from_db()
    assert (run.status, run.rows_restored) == ("undone", count)
    assert not Employee.objects.filter(first_name="Иван").exists()


def wait_to_be_compared() -> None:
    for phone in PHONES:
        WaitingComparison.objects.create(
            phone=phone, max_id="7", api_name="Иван Петров", stage=2, university_id=1, served_source="api", served_ms=1
        )
    WaitingComparison.objects.filter(phone__in=PHONES[3:]).update(asked_at=timezone.now() - timedelta(hours=1))
    add_profile("7")


def compared() -> tuple[int, int]:
    return Comparison.objects.filter(outcome="agree").count(), WaitingComparison.objects.count()


def search() -> None:
    MaxIdJob.objects.update(next_try_at=timezone.now())
    max_id_search.work_on(time.monotonic() + PATIENCE)


def searched() -> tuple[Any, ...]:
    job = MaxIdJob.objects.get()
    return job.status, job.done, job.failed, Employee.objects.filter(max_id="7").count()


def begin_search() -> None:
    employees(2)
    Employee.objects.update(max_id=None)
    MaxIdJob.objects.create(total=2)


def miss_names() -> None:
    for employee in employees(2):
        UnresolvedName.objects.create(employee=employee, next_try_at=timezone.now())


def retry_names() -> None:
    UnresolvedName.objects.update(next_try_at=timezone.now() - timedelta(minutes=2))
    naming.retry_unresolved(time.monotonic() + PATIENCE)


def named() -> tuple[int, int]:
    return Employee.objects.filter(first_name="Олег").count(), UnresolvedName.objects.count()


def leave_erasures() -> None:
    for user_id in ("1", "2"):
        add_profile(user_id, age=timedelta(hours=1))
        Tombstone.objects.create_for(user_id, timezone.now() - timedelta(minutes=2))


def erased() -> tuple[int, int]:
    return Profile.objects.count(), Tombstone.objects.exclude(unfinished_id="").count()


def fire_alerts() -> None:
    alert = Alert.objects.create(kind=Kind.DEAD_LETTERS, severity="warning", message="m", words={"count": "1"})
    for event in (Delivery.Event.FIRING, Delivery.Event.ESCALATED):
        outbox.put(alert, event)


def deliver() -> None:
    Delivery.objects.update(next_try_at=timezone.now())
    outbox.deliver()


def delivered() -> tuple[int, int]:
    return len(sent), Delivery.objects.filter(state="sent").count()


def plan_a_step() -> None:
    # Down, which needs no gates.
    plan_step(3, 50, timezone.now() + timedelta(hours=1))
    Plan.objects.update(due_at=timezone.now() - timedelta(seconds=1))


def planned() -> tuple[Any, ...]:
    return Plan.objects.get().state, Change.objects.filter(action="schedule").count()


def be_behind() -> None:
    for user_id in ("1", "2"):
        add_profile(user_id, is_cached=False)


def refilled() -> tuple[int, list[str]]:
    names = [stored.profile.max_first_name for each in "12" if (stored := cache.find(each)).profile]
    return Profile.objects.filter(is_cache_behind=True).count(), names


sent: list[Delivery] = []


class Task(NamedTuple):
    prepare: Job
    run: Job
    result: Job
    expected: Any


TASKS = {
    "compare": Task(wait_to_be_compared, lambda: comparison.compare_waiting(PATIENCE), compared, (3, 0)),
    "search": Task(begin_search, search, searched, ("done", 2, 0, 2)),
    "retry": Task(miss_names, retry_names, named, (2, 0)),
    "erase": Task(leave_erasures, erasure.finish_erasures, erased, (0, 0)),
    "deliver": Task(fire_alerts, deliver, delivered, (2, 2)),
    "plan": Task(plan_a_step, controller.fire_due, planned, ("done", 1)),
    "refill": Task(be_behind, refill_cache, refilled, (0, ["Иван", "Иван"])),
}


@pytest.mark.parametrize("number", range(1, MOST_COMMITS + 1))
@pytest.mark.parametrize("name", TASKS)
def test_each_task(
    late: Late, direct: FakeMax, settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    settings.ALERT_WEBHOOK_URL = "https://alerts.test/"
    sent.clear()
    monkeypatch.setattr(channels, "SENDERS", dict.fromkeys(channels.SENDERS, sent.append))
    monkeypatch.setattr(comparison, "_BATCH", 2)
    for phone in PHONES[:2]:
        direct.knows(phone, 7)
    dropped = comparison.dropped._value.get()
    task = TASKS[name]
    task.prepare()
    late.run(task.run, number, times=3)
    assert task.result() == task.expected
    if name == "compare":
        assert comparison.dropped._value.get() == dropped + 2
