"""A person who is erased while a backfill runs: the running batch never stores the erased name."""

import threading
import time
from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.utils import timezone

from employees.backfill import batches
from employees.models import BackfillRun, Employee, RunStatus, University
from employees.naming import refresh
from profiles.models import PhoneLink
from profiles.personal_data import erasure
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]

ID, NAME, UNKNOWN = "4815162342", "Аполлинария", "Неизвестно"


def employ(university: University, number: int, max_id: str | None) -> Employee:
    return Employee.objects.create(phone=f"+7916{number:07}", max_id=max_id, university=university)


def in_thread(function: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            function()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def erase() -> None:
    erasure.erase(ID, by="x", reason="y")


def check_erased(employee: Employee) -> None:
    employee.refresh_from_db()
    assert (employee.first_name, employee.profile_source, employee.profile_last_updated) == (UNKNOWN, "default", None)
    run = BackfillRun.objects.first()
    assert run is None or NAME not in str(list(run.batches.values_list("changes", flat=True)))


@pytest.mark.long
@pytest.mark.parametrize("is_linked", [False, True], ids=["MAX ID", "phone link"])
@pytest.mark.parametrize("way", ["batch", "refresh"])
def test_a_batch_that_starts_during_the_erasure(university: University, way: str, is_linked: bool) -> None:
    add_profile(ID, NAME)
    employee = employ(university, 1, None if is_linked else ID)
    if is_linked:
        PhoneLink.objects.create(phone=employee.phone, user_id=ID, observed_at=timezone.now())
    run = batches.start()
    with transaction.atomic():
        erase()
        work = in_thread((lambda: batches.run_batch(run)) if way == "batch" else (lambda: refresh(employee.pk)))
        work.join(0.5)
        assert work.is_alive(), "the batch did not wait for the erasure"
    work.join()
    check_erased(employee)
    assert not run.batches.filter(status="failed").exists()


@pytest.mark.long
def test_an_erasure_that_starts_during_a_batch(university: University) -> None:
    add_profile(ID, NAME)
    employee = employ(university, 1, ID)
    run = batches.start()
    with transaction.atomic():
        batches.run_batch(run)
        assert Employee.objects.get().first_name == NAME
        erasing = in_thread(erase)
        erasing.join(0.5)
        assert erasing.is_alive(), "the erasure did not wait for the batch"
    erasing.join()
    check_erased(employee)


def test_a_batch_does_not_hold_up_updates_of_profiles(university: University) -> None:
    add_profile(ID, NAME)
    employ(university, 1, ID)
    run = batches.start()
    with transaction.atomic():
        batches.run_batch(run)
        updating = in_thread(lambda: add_profile(ID, "Новое"))
        updating.join(30)
        assert not updating.is_alive()


@pytest.mark.long
@pytest.mark.parametrize("people", [40, pytest.param(1500, marks=pytest.mark.integration)])
def test_erasures_while_batches_run(university: University, people: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MIN_BATCH", 5)
    monkeypatch.setattr(batches, "MAX_BATCH", 20)
    monkeypatch.setattr(BackfillRun._meta.get_field("batch_size"), "default", 5)
    for number in range(people):
        add_profile(str(number + 1), NAME if number % 2 else "Иван", str(number))
        employ(university, number, str(number + 1))
    run = batches.start(pause_ms=0)
    erased = [str(number + 1) for number in range(people) if number % 2]
    seen: list[str] = []

    def erase_and_look() -> None:
        for user_id in erased:
            erasure.erase(user_id, by="x", reason="y")
            seen.append(Employee.objects.get(max_id=user_id).first_name)

    def backfill() -> None:
        while batches.run_batch(run):
            time.sleep(0)

    for thread in [in_thread(backfill), in_thread(erase_and_look)]:
        thread.join()
    run.refresh_from_db()
    assert (run.status, run.batches.filter(status="failed").count()) == (RunStatus.DONE, 0)
    assert set(seen) == {UNKNOWN}
    assert not Employee.objects.filter(first_name=NAME).exists()
    assert Employee.objects.filter(first_name="Иван").count() == people // 2
