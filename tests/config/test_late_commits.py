"""A commit of the worker may raise although it is stored: it gives up on a lost standby, or the connection breaks.

Whichever commit of a task that is, the task's next runs finish the work as if nothing had happened.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import OperationalError

from config.postgres.base import DatabaseWrapper
from employees.backfill import batches
from employees.models import BackfillBatch, Employee, University
from tests.profiles.people import add_profile

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
            self.count += 1
            if self.count == self.number:
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
        batches.work_on_open_run(time.monotonic() + 4)

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
