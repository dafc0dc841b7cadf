"""The backfill: who gets a name and who does not, and how it is paused, killed and undone."""

import itertools
import time
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection
from django.utils import timezone, translation
from pytest_django.fixtures import Settings
from waffle.models import Switch

from employees.backfill import batches
from employees.models import BackfillBatch, BackfillRun, Employee, University
from employees.tasks import forget_prior_values, work_on_jobs
from monitoring.audit.audit_log import entries
from profiles.models import PhoneLink, Profile
from profiles.rollout.models import Change, UniversityRule
from profiles.rollout.rules import ChangeRefused
from tests.conftest import Phases
from tests.forked import forked
from tests.profiles.people import add_profile

UNKNOWN = "Неизвестно"

pytestmark = pytest.mark.django_db


def employ(university: University, number: int, max_id: str | None, **fields: Any) -> Employee:
    return Employee.objects.create(phone=f"+7916{number:07}", max_id=max_id, university=university, **fields)


def command(*args: str) -> str:
    """Run the command; a start has a reason unless the test gives its own."""
    reason = ("--reason", "tested") if args[0] == "start" and "--reason" not in args else ()
    out = StringIO()
    call_command("backfill", *args, *reason, stdout=out)
    return out.getvalue()


def named(employee: Employee) -> tuple[str, str, str]:
    employee.refresh_from_db()
    return employee.first_name, employee.last_name, employee.profile_source


def snapshot() -> list[tuple[Any, ...]]:
    fields = ("id", "first_name", "last_name", "middle_name", "max_id", "profile_source", "profile_last_updated")
    return list(Employee.objects.order_by("id").values_list(*fields))


@pytest.fixture(autouse=True)
def _in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MIN_BATCH", 2)
    monkeypatch.setattr(batches, "MAX_BATCH", 2)
    monkeypatch.setattr(BackfillRun._meta.get_field("batch_size"), "default", 2)


def test_it_works(university: University, settings: Settings) -> None:
    fresh, own = (
        add_profile("1", is_cached=False),
        add_profile("2", own_name="Ваня Петров Ильич Младший", is_cached=False),
    )
    add_profile("3", age=settings.PROFILE_TTL + timedelta(days=1), is_cached=False)
    add_profile("4", last_name=None, is_cached=False)
    by_webhook = employ(university, 1, "1")
    by_own = employ(university, 2, "2", profile_source="default")
    stale = employ(university, 3, "3")
    by_hand = employ(university, 4, "1", first_name="Анна", last_name="Иванова")
    lone = employ(university, 5, "1", first_name="Анна")
    richer = employ(university, 6, "4", first_name="Олег", last_name="Сидоров", profile_source="api")
    nobody = employ(university, 7, "99")
    by_link = employ(university, 8, None)
    PhoneLink.objects.create(phone=by_link.phone, user_id="1", observed_at=timezone.now())
    assert "8 of 8 checked, 3 changed" in command("start")
    assert named(by_webhook) == ("Иван", "Петров", "webhook")
    assert by_webhook.profile_last_updated == fresh.last_updated
    assert named(by_own) == ("Ваня", "Петров", "user_input")
    assert (by_own.middle_name, by_own.profile_last_updated) == ("Ильич Младший", own.last_updated)
    assert named(by_link) == ("Иван", "Петров", "webhook")
    assert by_link.max_id == "1"
    assert named(stale) == named(nobody) == (UNKNOWN, UNKNOWN, "manual")
    assert named(by_hand) == ("Анна", "Иванова", "manual")
    assert named(lone) == ("Анна", UNKNOWN, "manual")
    assert named(richer) == ("Олег", "Сидоров", "api")
    assert "0 changed" in command("start")


def test_it_replaces_names_only_on_request(university: University, phases: Phases) -> None:
    phases(100, 100, 100)
    add_profile("1", is_cached=False)
    by_api = employ(university, 1, "1", first_name="Олег", last_name="Сидоров", profile_source="api")
    older = employ(university, 2, "1", first_name="Вано", last_name="Петров", profile_source="webhook")
    by_hand = employ(university, 3, "1", first_name="Анна", last_name="Иванова")
    assert "Rows that would change: 0," in command("start", "--dry-run")
    assert "0 changed" in command("start")
    assert "Rows that would change: 2," in command("start", "--dry-run", "--replace-names")
    text = command("start", "--replace-names")
    assert "done, replaces names, 3 of 3 checked, 2 changed" in text
    assert named(by_api) == named(older) == ("Иван", "Петров", "webhook")
    assert named(by_hand) == ("Анна", "Иванова", "manual")


@pytest.mark.parametrize(
    ("percents", "rule", "replaced"),
    [
        ((100, 100), None, 0),
        ((100, 100, 100), None, 1),
        ((100, 100, 100, 100), None, 1),
        ((100, 100), (3, True), 1),
        ((100, 100, 100), (3, False), 0),
        ((100, 100, 100, 100), (4, False), 1),
    ],
)
def test_it_replaces_names_of_people_in_the_cache(
    university: University, phases: Phases, percents: tuple[int, ...], rule: tuple[int, bool] | None, replaced: int
) -> None:
    phases(*percents)
    if rule:
        UniversityRule.objects.create(university_id=university.pk, phase=rule[0], is_allowed=rule[1], reason="r")
    add_profile("1", is_cached=False)
    employ(university, 1, "1", first_name="Олег", last_name="Сидоров", profile_source="api")
    assert f"{replaced} changed" in command("start", "--replace-names")


@pytest.mark.parametrize(("last_name", "source"), [(None, "api"), ("", "webhook")])
@pytest.mark.parametrize("percents", [(100, 100, 100), (100, 100, 100, 100)])
def test_a_full_name_yields_only_to_a_complete_one(
    university: University, phases: Phases, percents: tuple[int, ...], last_name: str | None, source: str
) -> None:
    phases(*percents)
    add_profile("1", last_name=last_name, is_cached=False)
    employee = employ(university, 1, "1", first_name="Олег", last_name="Сидоров", profile_source="api")
    command("start", "--replace-names")
    assert named(employee)[2] == source


def test_denials_decide_about_the_nameless_not_percentages(university: University, phases: Phases) -> None:
    phases(100, 100)
    denied = University.objects.create(name="Другой")
    UniversityRule.objects.create(university_id=denied.pk, phase=3, reason="r")
    add_profile("1", is_cached=False)
    here, there = employ(university, 1, "1"), employ(denied, 2, "1", profile_source="default")
    assert "Rows that would change: 1," in command("start", "--dry-run")
    assert "1 changed" in command("start")
    assert (named(here)[2], named(there)[2]) == ("webhook", "default")


@pytest.mark.parametrize("name", ["profile_cache", "service_employee"])
def test_it_pauses_while_the_rollout_keeps_the_cache_off(university: University, phases: Phases, name: str) -> None:
    add_profile("1", is_cached=False)
    employee = employ(university, 1, "1")
    Switch.objects.filter(name=name).update(active=False)
    assert "Nothing would change: the " in command("start", "--dry-run")
    with pytest.raises(CommandError, match=r"Paused: the \w+ is switched off"):
        command("start")
    assert named(employee)[2] == "manual"
    Switch.objects.filter(name=name).update(active=True)
    assert "1 changed" in command("resume")


def test_a_middle_name_by_hand_stays(university: University, phases: Phases) -> None:
    phases(100, 100, 100)
    add_profile("1", own_name="Ваня Чудов Ильич", is_cached=False)
    by_hand = employ(university, 1, "1", middle_name="Львович")
    by_own = employ(university, 2, "1", first_name="Ваня", middle_name="Саныч", profile_source="user_input")
    command("start", "--replace-names")
    for employee in (by_hand, by_own):
        assert named(employee) == ("Ваня", "Чудов", "user_input")
    assert (by_hand.middle_name, by_own.middle_name) == ("Львович", "Ильич")


def test_undo_restores_every_byte(university: University) -> None:
    for number in range(7):
        add_profile(str(number + 1), "Иван", "Петров", is_cached=False)
        employ(university, number, str(number + 1), first_name=UNKNOWN, last_name="", middle_name="É \\ \" '")
    linked = employ(university, 8, None)
    PhoneLink.objects.create(phone=linked.phone, user_id="1", observed_at=timezone.now())
    before = snapshot()
    command("start")
    assert snapshot() != before
    changed_since = Employee.objects.get(phone="+79160000003")
    Employee.objects.filter(pk=changed_since.pk).update(first_name="Анна", profile_source="manual")
    assert "undone" in command("undo")
    after = snapshot()
    assert [row for row in after if row[0] != changed_since.pk] == [row for row in before if row[0] != changed_since.pk]
    assert named(changed_since) == ("Анна", "Петров", "manual")


def test_a_dry_run_counts_and_changes_nothing(university: University) -> None:
    add_profile("1", is_cached=False)
    employ(university, 1, "1")
    before = snapshot()
    text = command("start", "--dry-run")
    assert "Университет" in text
    assert "Rows that would change: 1," in text
    assert snapshot() == before
    assert not BackfillRun.objects.exists()


def test_one_is_open_and_can_be_paused_and_resumed(university: University) -> None:
    for number in range(6):
        add_profile(str(number + 1), is_cached=False)
        employ(university, number, str(number + 1))
    run = batches.start(university=university)
    assert batches.run_batch(run)
    with pytest.raises(CommandError, match="open"):
        command("start")
    assert "paused at 2 of 6" in command("pause", "--reason", "maintenance")
    assert not batches.run_batch(run)
    assert "paused (maintenance)" in command("status")
    assert "6 of 6 checked, 6 changed" in command("resume")
    with pytest.raises(CommandError):
        command("pause")


@pytest.mark.parametrize("option", ["--batch-ms=0", "--batch-ms=-5", "--pause-ms=-1", "--pause-ms=99999999999"])
def test_it_refuses_an_invalid_time(option: str) -> None:
    with pytest.raises(CommandError, match=r"argument --\w+-ms: must be [01] to 60000 ms"):
        command("start", option)
    assert not BackfillRun.objects.exists()


def test_another_constraint_is_no_open_backfill() -> None:
    with pytest.raises(IntegrityError, match="batch_target_ms"):
        call_command("backfill", "start", batch_ms=-5, reason="tested")


def test_before_the_first_there_is_no_status() -> None:
    assert command("status") == "No backfill has been started\n"


def test_the_worker_goes_on_with_an_open_run(university: University) -> None:
    add_profile("1", is_cached=False)
    employee = employ(university, 1, "1")
    command("start", "--detach", "--pause-ms", "0")
    assert named(employee)[2] == "manual"
    work_on_jobs()
    assert named(employee)[2] == "webhook"
    assert BackfillRun.objects.get().status == "done"


def test_a_failed_batch_is_skipped_and_retried(university: University, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        add_profile(str(number + 1), is_cached=False)
        employ(university, number, str(number + 1))
    fill, calls = batches._fill, iter(range(100))

    def failing(*args: Any) -> Any:
        if next(calls) == 1:
            raise DatabaseError("deadlock")
        return fill(*args)

    monkeypatch.setattr(batches, "_fill", failing)
    assert "4 changed, failed batches: 1" in command("start", "--pause-ms", "0")
    assert BackfillBatch.objects.get(status="failed").error == "DatabaseError", "the text of one may quote a row"
    assert "retried: 1 of 1" in command("retry-failed")
    assert Employee.objects.filter(profile_source="webhook").count() == 6


def test_a_batch_whose_undo_fails_is_logged(
    university: University, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_profile("1", is_cached=False)
    employ(university, 1, "1")
    command("start", "--pause-ms", "0")
    run = BackfillRun.objects.get()
    batches.act("undo", run, "r")
    undo = batches._undo_batch

    def failing(_: BackfillRun) -> bool:
        raise DatabaseError("lock timeout")

    monkeypatch.setattr(batches, "_undo_batch", failing)
    assert batches.run_batch(run)
    assert caplog.messages.count("backfill batch failed") == 1
    monkeypatch.setattr(batches, "_undo_batch", undo)
    batches.work_on_open_run(time.monotonic() + 4)
    assert BackfillRun.objects.get().status == "undone"


def test_an_end_that_fails_is_tried_by_the_next_task(
    university: University, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_profile("1", is_cached=False)
    employ(university, 1, "1")
    command("start", "--detach", "--pause-ms", "0")
    finish = batches._finish

    def failing(*_: object) -> bool:
        raise DatabaseError("lock timeout")

    monkeypatch.setattr(batches, "_finish", failing)
    work_on_jobs()
    assert BackfillRun.objects.get().status == "running"
    assert caplog.messages.count("backfill batch failed") == 1
    monkeypatch.setattr(batches, "_finish", finish)
    work_on_jobs()
    assert BackfillRun.objects.get().status == "done"
    assert not BackfillBatch.objects.filter(status="failed").exists()


@pytest.fixture
def failed(university: University, monkeypatch: pytest.MonkeyPatch) -> BackfillRun:
    """Return a run whose only batch has failed."""
    add_profile("1", is_cached=False)
    employ(university, 1, "1")

    def failing(*args: Any) -> Any:
        raise DatabaseError("deadlock")

    with monkeypatch.context() as patch:
        patch.setattr(batches, "_fill", failing)
        command("start", "--pause-ms", "0")
    return BackfillRun.objects.get()


def test_two_retries_at_the_same_time_keep_the_previous_names(
    failed: BackfillRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = batches._lock

    def lock_second(run: BackfillRun) -> Any:
        monkeypatch.setattr(batches, "_lock", lock)
        assert batches.retry_failed(BackfillRun.objects.get()) == 1
        return lock(run)

    monkeypatch.setattr(batches, "_lock", lock_second)
    assert batches.retry_failed(failed) == 0
    command("undo")
    work_on_jobs()
    assert Employee.objects.get().profile_source == "manual"


def test_a_run_that_is_being_undone_is_not_retried(failed: BackfillRun) -> None:
    for status in ("undoing", "undone"):
        BackfillRun.objects.update(status=status)
        assert batches.retry_failed(BackfillRun.objects.get()) == 0
    assert Employee.objects.get().profile_source == "manual"


def test_each_action_by_command_is_in_the_audit_log(university: University) -> None:
    run = batches.start(university=university)
    command("pause", "--reason", "maintenance", "--by", "anna")
    command("resume", "--dry-run")
    command("resume", "--detach", "--by", "anna")
    BackfillRun.objects.update(status="done")
    command("retry-failed", "--reason", "again", "--by", "anna")
    command("undo", "--detach", "--reason", "wrong names", "--by", "anna")
    after = {"backfill": run.pk, "university": university.pk}
    rows = (
        Change.objects.filter(action__startswith="backfill")
        .order_by("pk")
        .values_list("action", "reason", "by", "after")
    )
    assert list(rows) == [
        ("backfill-pause", "maintenance", "anna", after),
        ("backfill-resume", "by command", "anna", after),
        ("backfill-retry", "again", "anna", after),
        ("backfill-undo", "wrong names", "anna", after),
    ]
    entry = entries(kind="rollout")[0]
    assert (entry.by, entry.what, entry.reason) == ("anna", f"Backfill undone: {run.pk}", "wrong names")


def test_the_failed_batches_of_an_undone_run_are_not_retried(university: University) -> None:
    add_profile("1", is_cached=False)
    employee = employ(university, 1, "1")
    run = BackfillRun.objects.create(until_id=employee.pk, status="undone")
    run.batches.create(status="failed", until_id=employee.pk, after_id=0, rows_seen=1)
    with pytest.raises(CommandError, match="no such backfill"):
        command("retry-failed")
    assert named(employee)[2] == "manual"


def test_it_stops_when_most_batches_fail(university: University, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "FAILURE_WINDOW", 4)
    for number in range(20):
        employ(university, number, str(number + 1))

    def failing(*args: Any) -> Any:
        raise DatabaseError("down")

    monkeypatch.setattr(batches, "_fill", failing)
    with pytest.raises(CommandError, match="more than half"):
        command("start", "--pause-ms", "0")
    assert BackfillBatch.objects.count() == 4
    run = BackfillRun.objects.get()
    assert run.pause_reason == "more than half of the last 50 batches failed"
    with translation.override("ru"):
        assert run.pause_reason == "больше половины из последних 50 порций завершились ошибкой"


@pytest.mark.parametrize(("took", "size"), [(50, 2000), (100, 1000), (400, 500), (1, 2000), (10_000, 500)])
def test_the_batch_follows_its_time_target(monkeypatch: pytest.MonkeyPatch, took: int, size: int) -> None:
    monkeypatch.setattr(batches, "MIN_BATCH", 100)
    monkeypatch.setattr(batches, "MAX_BATCH", 20_000)
    assert batches._next_batch_size(1000, took, 100) == size


@pytest.fixture
def many(transactional_db: None) -> Iterator[int]:
    university = University.objects.create(name="Вуз")
    rows = 20_000
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO profile_cache (user_id, first_name, first_name_set_at, is_first_name_real, last_name, "
            "last_name_set_at, last_updated, is_cache_behind) "
            "SELECT n::text, 'Имя' || n, now(), true, 'Фамилия' || n, now(), now(), false "
            "FROM generate_series(1, %s) n",
            [rows],
        )
        cursor.execute(
            "INSERT INTO employees (phone, first_name, last_name, middle_name, role, max_id, university_id, created_at,"
            " updated_at) SELECT '+79' || lpad(n::text, 9, '0'), 'Неизвестно', 'Неизвестно', '', '', n::text, %s,"
            " now(), now() FROM generate_series(1, %s) n",
            [university.pk, rows],
        )
        # Whether autovacuum comes by in time decides the plans, and with them half a minute.
        cursor.execute("ANALYZE profile_cache, employees")
    yield rows
    Profile.objects.all().delete()


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(180)
def test_ten_kills_lose_and_repeat_nothing(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_BATCH", 5_000)
    before = snapshot()
    batches.start(batch_size=100, batch_target_ms=10, pause_ms=20)
    for _ in range(10):
        seen = BackfillRun.objects.get().rows_seen
        with forked(lambda: command("resume")):
            deadline = time.monotonic() + 30
            while BackfillRun.objects.get().rows_seen == seen:
                assert time.monotonic() < deadline
                time.sleep(0.02)
    assert BackfillRun.objects.get().rows_seen < many, "it was done before the tenth kill"
    BackfillRun.objects.update(pause_ms=0, batch_target_ms=1000)
    assert f"{many} of {many} checked, {many} changed" in command("resume")
    ranges = list(BackfillBatch.objects.order_by("id").values_list("after_id", "until_id"))
    assert all(one[1] == two[0] for one, two in itertools.pairwise(ranges))
    assert Employee.objects.filter(profile_source="webhook").count() == many
    command("undo")
    assert snapshot() == before


def test_previous_values_are_deleted_after_30_days(university: University) -> None:
    add_profile("1", is_cached=False)
    employee = employ(university, 1, "1")
    command("start")
    assert forget_prior_values() == 0
    BackfillRun.objects.update(created_at=timezone.now() - timedelta(days=31))
    with pytest.raises(CommandError, match="cannot be undone: previous names are deleted after 30 days"):
        command("undo")
    run = BackfillRun.objects.get()
    with pytest.raises(ChangeRefused, match="cannot be undone"):
        batches.act("undo", run, "too late")
    BackfillRun.objects.update(created_at=timezone.now(), status="undone")
    run.refresh_from_db()
    with pytest.raises(ChangeRefused, match="This is no longer possible"):
        batches.act("undo", run, "again")
    BackfillRun.objects.update(created_at=timezone.now() - timedelta(days=31), status="done")
    run.refresh_from_db()
    run.undo()
    assert (run.status, named(employee)[0]) == ("done", "Иван")
    assert forget_prior_values() == 1
    assert BackfillBatch.objects.get().changes == []
    assert forget_prior_values() == 0
