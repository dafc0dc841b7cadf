"""A person is erased from every store and stays erased."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis
from rest_framework.test import APIClient

from employees.backfill import batches
from employees.history.models import EmployeeVersion
from employees.models import Employee, IdempotentRequest, University, UnresolvedName
from employees.naming import create_employee
from profiles import cache
from profiles.lookup import resolve
from profiles.models import Comparison, Erasure, PhoneLink, Profile
from profiles.models.tombstones import Tombstone
from profiles.personal_data import Person, erasure, rows_of
from tests.conftest import client_of
from tests.profiles.all_stores import (
    ALL_STORES,
    FIRST,
    ID,
    LAST,
    OWN,
    PHONE,
    TOKEN,
    add_update,
    message,
    person_in_all_stores,
    places,
)
from tests.profiles.people import add_profile
from tests.servers import FaultyServer
from tests.waiting import PATIENCE
from tests.webhooks.inbox_rows import rows
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


@pytest.fixture
def employee(university: University, api: APIClient, settings: Settings) -> Employee:
    settings.MAX_BOT_TOKEN = TOKEN
    return person_in_all_stores(university, api)


# Employees keep their phone and MAX ID.
WITH_PHONE = {"employees", "employee_history_historicalemployee"}


def test_it_works(api: APIClient, employee: Employee, redis: Redis) -> None:
    assert places(redis, FIRST, LAST, OWN) == ALL_STORES
    assert api.delete(f"/profiles/{ID}").status_code == 204
    assert places(redis, FIRST, LAST, OWN) == set()
    assert places(redis, PHONE, PHONE[1:]) == WITH_PHONE
    employee.refresh_from_db()
    assert (employee.first_name, employee.last_name, employee.middle_name) == ("Неизвестно", "Неизвестно", "")
    assert (employee.profile_source, employee.profile_last_updated) == ("default", None)
    assert not UnresolvedName.objects.exists()
    assert Comparison.objects.get().cache_name == Comparison.objects.get().api_name == ""
    assert not PhoneLink.objects.exists()
    assert api.get(f"/profiles/{ID}").json()["source"] == "default"
    assert Employee.objects.filter(first_name="Неизвестно").count() == 2


def test_it_finds_deeply_nested_mentions(superadmin: User) -> None:
    deep = b"[" * 450 + b'{"user_id": %d}' % int(ID) + b"]" * 450
    update = add_update({}, State.DONE)
    InboxUpdate.objects.filter(pk=update.pk).update(body=b'{"update_type": "bot_started", "deep": %b}' % deep)
    assert client_of(superadmin).delete(f"/profiles/{ID}").status_code == 204
    assert InboxUpdate.objects.get().body is None


def test_it_does_not_read_updates_without_a_body() -> None:
    queries: list[str] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if "webhook_inbox" in sql:
            with connection.connection.cursor() as cursor:
                queries.append(str(cursor.execute(f"EXPLAIN {sql}", params).fetchall()))
        return execute(sql, params, many, context)

    rows(300, State.DONE, body=None)
    with connection.cursor() as cursor:
        # Of a small table, PostgreSQL reads all rows.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("ANALYZE webhook_inbox")
    with connection.execute_wrapper(explain):
        rows_of(InboxUpdate, Person(ID, phones={PHONE}))
    assert len(queries) == 4
    for plan, index in zip(queries, ("due", "dead", "with_body", "person"), strict=True):
        assert "Seq Scan" not in plan
        assert f"webhook_inbox_{index}" in plan


def test_only_a_later_update_brings_the_person_back(api: APIClient, redis: Redis) -> None:
    earlier = timezone.now()
    add_profile(ID, FIRST, LAST)
    api.delete(f"/profiles/{ID}")
    add_update(message(at=earlier), State.PENDING)
    process_inbox()
    assert not Profile.objects.exists()
    add_update(message(first_name="Новое"), State.PENDING)
    process_inbox()
    assert Profile.objects.get().first_name == "Новое"
    assert api.get(f"/profiles/{ID}").json()["display_name"].startswith("Новое")


def test_it_covers_updates_from_a_clock_ahead_of_ours(api: APIClient) -> None:
    ahead = timezone.now() + timedelta(minutes=3)
    add_update(message(at=ahead))
    process_inbox()
    api.delete(f"/profiles/{ID}")
    add_update(message(at=ahead))
    process_inbox()
    assert not Profile.objects.exists()


@pytest.mark.parametrize("state", [State.PENDING, State.DONE, State.DEAD])
def test_it_covers_updates_received_before_a_clock_was_set_back(api: APIClient, redis: Redis, state: str) -> None:
    ahead = timezone.now() + timedelta(minutes=50)
    user_id = "" if state == State.PENDING else ID
    received = add_update(message(at=ahead), state, user_id=user_id)
    InboxUpdate.objects.update(received_at=ahead, stored_at=ahead)
    assert api.delete(f"/profiles/{ID}").status_code == 204
    assert places(redis, FIRST) == set()
    # Delivered once more.
    add_update(message(at=ahead))
    InboxUpdate.objects.exclude(pk=received.pk).update(received_at=ahead, stored_at=ahead)
    process_inbox()
    assert not Profile.objects.exists()


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=400)])
def test_a_host_whose_clock_was_ahead_does_not_change_the_time(api: APIClient, redis: Redis, ahead: timedelta) -> None:
    """Neither when it received another person's update nor when it stores a name or erases somebody."""
    now = timezone.now()
    for state in (State.DONE, State.DEAD, State.PENDING):
        other = add_update(message(8, "Яна"), state, user_id="8")
        InboxUpdate.objects.filter(pk=other.pk).update(received_at=now + ahead)
    own = add_update(message(), State.DONE, user_id=ID)
    InboxUpdate.objects.filter(pk=own.pk).update(received_at=now + ahead)
    with time_machine.travel(now + ahead):
        cache.store_names(ID, {"user_provided_name": OWN})
        assert erasure.erase(ID, by="root", reason="drill").erased["webhook_inbox"] == 1
    assert abs(Tombstone.objects.get().erased_at - now) < timedelta(minutes=1)
    assert not Profile.objects.exists()
    later = timezone.now() + timedelta(seconds=30)
    add_update(message(first_name="Новое", at=later))
    process_inbox()
    assert Profile.objects.get(user_id=ID).first_name == "Новое"
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    assert erasure.finish_erasures() == 1


def test_the_clock_of_the_worker_does_not_delay_the_second_pass(api: APIClient, redis: Redis) -> None:
    api.delete(f"/profiles/{ID}")
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    with time_machine.travel(timezone.now() - timedelta(hours=1)):
        assert erasure.finish_erasures() == 1


def test_a_repeated_erasure_is_not_older_than_the_first(api: APIClient) -> None:
    api.delete(f"/profiles/{ID}")
    ahead = timezone.now() + timedelta(hours=1)
    Tombstone.objects.update(erased_at=ahead)
    api.delete(f"/profiles/{ID}")
    assert Tombstone.objects.get().erased_at > ahead


def test_replays_and_the_backfill_find_nothing(api: APIClient, employee: Employee, redis: Redis) -> None:
    api.delete(f"/profiles/{ID}")
    InboxUpdate.objects.all().replay(by="x", reason="y", selection="all")
    process_inbox()
    run = batches.start()
    while batches.run_batch(run):
        pass
    run.undo()
    while batches.run_batch(run):
        pass
    assert places(redis, FIRST, LAST, OWN) == set()
    assert not Profile.objects.filter(pk=ID).exists()


def test_it_leaves_other_people_alone(api: APIClient, employee: Employee, university: University, redis: Redis) -> None:
    add_profile("481516", "Олег", "Другой")
    other = Employee.objects.create(phone="+12025550199", max_id="481516", first_name="Олег", university=university)
    theirs = add_update(message(481516, "Олег", body={"mid": "1", "text": f"1{ID}"}), State.DONE, user_id="481516")
    IdempotentRequest.objects.create(
        user=User.objects.get(username="root"), key="o", answer={"id": other.pk}, status=201
    )
    api.delete(f"/profiles/{ID}")
    other.refresh_from_db()
    theirs.refresh_from_db()
    assert (other.first_name, Profile.objects.get().first_name) == ("Олег", "Олег")
    assert (theirs.body is not None, theirs.user_id) == (True, "481516")
    assert IdempotentRequest.objects.get().key == "o"
    assert redis.exists("profile:user:481516")


def test_it_waits_for_a_pending_update_of_another_person(api: APIClient, redis: Redis) -> None:
    add_update(message(9, "Олег", link={"sender": {"user_id": int(ID), "first_name": FIRST}}))
    api.delete(f"/profiles/{ID}")
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(seconds=61))
    InboxUpdate.objects.update(received_at=timezone.now() - timedelta(minutes=2))
    assert erasure.finish_erasures() == 0
    process_inbox()
    assert Profile.objects.get().first_name == "Олег"
    assert erasure.finish_erasures() == 1
    assert places(redis, FIRST) == set()


def test_the_second_pass_erases_what_was_in_flight(api: APIClient, employee: Employee, redis: Redis) -> None:
    profile = Profile.objects.get()
    api.delete(f"/profiles/{ID}")
    # A create and a reader that had read the profile before it was gone.
    Employee.objects.filter(pk=employee.pk).update(
        first_name=FIRST, profile_source="webhook", profile_last_updated=profile.last_updated
    )
    redis.set(f"profile:user:{ID}", FIRST)
    assert erasure.finish_erasures() == 0
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    Employee.objects.filter(pk=employee.pk).update(profile_last_updated=timezone.now() - timedelta(minutes=3))
    assert erasure.finish_erasures() == 1
    assert places(redis, FIRST) == set()
    assert places(redis, ID) == WITH_PHONE


@pytest.mark.parametrize(
    ("given", "names"), [({}, ["Неизвестно"] * 2), ({"first_name": "Олег"}, ["Олег", "Неизвестно"])]
)
def test_a_create_in_flight_stores_nothing_from_the_cache(
    api: APIClient, university: University, given: dict[str, Any], names: list[str]
) -> None:
    add_profile(ID, None, None, own_name=f"{FIRST} {LAST} {OWN}")
    found = resolve(phone=PHONE, max_id=ID, university_id=university.pk, **given)
    assert (found.last_name, found.middle_name) == (LAST, OWN)
    api.delete(f"/profiles/{ID}")
    employee = create_employee(found, phone=PHONE, university=university)
    assert [employee.first_name, employee.last_name] == names
    assert (employee.middle_name, employee.max_id) == ("", ID)


@pytest.mark.long
def test_the_second_pass_leaves_later_data(api: APIClient, employee: Employee) -> None:
    api.delete(f"/profiles/{ID}")
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    add_profile(ID, "Новое", "Имя")
    Employee.objects.filter(pk=employee.pk).update(first_name="Новое", profile_last_updated=timezone.now())
    assert erasure.finish_erasures() == 1
    employee.refresh_from_db()
    assert (employee.first_name, Profile.objects.get().first_name) == ("Новое", "Новое")


def test_the_second_pass_leaves_later_names_by_hand(api: APIClient, employee: Employee) -> None:
    api.delete(f"/profiles/{ID}")
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    Employee.objects.filter(pk=employee.pk).update(first_name="Новое", profile_source="manual")
    assert erasure.finish_erasures() == 1
    employee.refresh_from_db()
    assert (employee.first_name, Erasure.objects.count()) == ("Новое", 1)


# Where an erasure ends after the commit of its tombstone: before and after the statements of the first pass.
CRASHES = [(erasure, "_erase_and_record"), (cache, "delete")]


def interrupt(monkeypatch: pytest.MonkeyPatch, crash: tuple[Any, str] = CRASHES[1]) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(*crash, fail)
        with pytest.raises(OperationalError):
            erasure.erase(ID, by="x", reason="y")


@pytest.mark.long
@pytest.mark.parametrize("crash", CRASHES, ids=lambda crash: crash[1])
@pytest.mark.parametrize("has_returned", [False, True])
@pytest.mark.parametrize("known_by", ["MAX ID", "phone link", "profile"])
def test_names_by_hand_and_an_interrupted_erasure(
    university: University,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    known_by: str,
    has_returned: bool,
    crash: tuple[Any, str],
) -> None:
    """They have no time, and the person need not have a profile that is older than the erasure."""
    earlier = timezone.now() - timedelta(minutes=5)
    max_id = None if known_by == "phone link" else ID
    if max_id is None:
        PhoneLink.objects.create(phone=PHONE, user_id=ID, observed_at=earlier)
    if known_by == "profile":
        add_profile(ID, FIRST, LAST, at=earlier)
    Employee.objects.create(phone=PHONE, max_id=max_id, first_name=FIRST, last_name=LAST, university=university)
    interrupt(monkeypatch, crash)
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    if has_returned:
        add_profile(ID, "Новое", None)
        newer = {"first_name": "Новое", "profile_last_updated": timezone.now()}
        Employee.objects.create(phone="+12025550142", max_id=ID, university=university, **newer)
    assert erasure.finish_erasures() == 1
    assert places(redis, FIRST, LAST) == set()
    record = Erasure.objects.get()
    assert (record.reason, record.counts["employees"]) == (erasure.INTERRUPTED, 1)
    counts = [Profile.objects.filter(first_name="Новое").count(), Employee.objects.filter(first_name="Новое").count()]
    assert counts == [has_returned, has_returned]
    assert erasure.finish_erasures() == 0


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_first_pass_that_lasts_is_not_interrupted(
    university: University, redis: Redis, monkeypatch: pytest.MonkeyPatch, is_ahead: bool
) -> None:
    """The second pass is due meanwhile, at once if a clock was ahead, and may have read the row before its end."""
    begun, may_end, erase = threading.Event(), threading.Event(), erasure._erase

    def erase_slowly(person: erasure.ErasedPerson) -> erasure.ErasedPerson:
        if person.erased_at is None:
            begun.set()
            assert may_end.wait(PATIENCE)
        return erase(person)

    add_profile(ID, FIRST, LAST, at=timezone.now() + timedelta(hours=1) if is_ahead else None)
    employees = Employee.objects.filter(pk=Employee.objects.create(phone=PHONE, max_id=ID, university=university).pk)
    monkeypatch.setattr(erasure, "_erase", erase_slowly)
    monkeypatch.setattr(erasure, "SECOND_PASS_AFTER", timedelta())
    erasing = threading.Thread(target=erase_and_leave)
    erasing.start()
    assert begun.wait(PATIENCE)
    tombstone = Tombstone.objects.get()
    try:
        assert (erasure.finish_erasures(), Erasure.objects.count()) == (0, 0)
    finally:
        may_end.set()
        erasing.join()
    employees.update(first_name="Новое", profile_source="manual")
    assert erasure._finish(tombstone) is not is_ahead
    assert (employees.get().first_name, Erasure.objects.get().reason) == ("Новое", "y")
    if not is_ahead:
        assert not erasure._finish(tombstone), "an erasure is finished only once"


@pytest.fixture
def interrupted(cache_first: None, employee: Employee, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt an erasure after the tombstone, and have the second pass be due."""
    interrupt(monkeypatch)
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(seconds=61))
    earlier = timezone.now() - timedelta(minutes=2)
    PhoneLink.objects.update(observed_at=earlier)
    InboxUpdate.objects.update(received_at=earlier)
    Profile.objects.update(**dict.fromkeys(SET_AT, earlier))
    for model in (Employee, EmployeeVersion):
        model.objects.update(profile_last_updated=earlier)


SET_AT = ("first_name_set_at", "last_name_set_at", "user_provided_name_set_at")


def fail(*_: object) -> None:
    raise OperationalError


@pytest.mark.long
@pytest.mark.usefixtures("interrupted")
def test_the_second_pass_completes_an_interrupted_erasure(employee: Employee, redis: Redis) -> None:
    Employee.objects.filter(pk=employee.pk).update(last_name=LAST, profile_source="manual", profile_last_updated=None)
    assert erasure.finish_erasures() == 1
    assert places(redis, FIRST, LAST, OWN) == set()
    assert places(redis, ID, PHONE) == WITH_PHONE
    assert (Profile.objects.count(), PhoneLink.objects.count()) == (0, 0)
    record = Erasure.objects.get()
    assert (record.reason, record.counts["profile_cache"]) == (erasure.INTERRUPTED, 1)
    assert Tombstone.objects.get().unfinished_id == ""


@pytest.mark.usefixtures("interrupted")
def test_it_keeps_what_came_after_the_interruption(redis: Redis) -> None:
    newer = timezone.now()
    Profile.objects.update(first_name="Новое", first_name_set_at=newer)
    PhoneLink.objects.create(phone="+79165550143", user_id=ID, observed_at=newer)
    assert erasure.finish_erasures() == 1
    profile = Profile.objects.get()
    assert (profile.first_name, profile.last_name, profile.user_provided_name) == ("Новое", None, None)
    assert (PhoneLink.objects.get().phone, Erasure.objects.count()) == ("+79165550143", 1)
    assert places(redis, LAST, OWN) == set()


@pytest.mark.long
def test_it_erases_from_redis_later_after_an_outage(api: APIClient, redis: Redis, redis_server: FaultyServer) -> None:
    add_profile(ID, FIRST, LAST)
    redis_server.pause()
    assert api.delete(f"/profiles/{ID}").status_code == 204
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    assert erasure.finish_erasures() == 0
    redis_server.resume()
    cache.breaker.close()
    # It received the command all the same; a killed one would return with its last snapshot.
    redis.set(f"profile:user:{ID}", FIRST)
    assert erasure.finish_erasures() == 1
    assert not redis.exists(f"profile:user:{ID}")


def test_the_second_pass_does_not_wait_for_a_clock_that_was_ahead(api: APIClient, redis: Redis) -> None:
    """It is repeated until the time of the erasure is over, because requests may be in progress at the first."""
    api.delete(f"/profiles/{ID}")
    Tombstone.objects.update(erased_at=timezone.now() + timedelta(hours=1))
    for _ in range(2):
        redis.set(f"profile:user:{ID}", FIRST)
        assert erasure.finish_erasures() == 0
        assert not redis.exists(f"profile:user:{ID}")
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    assert erasure.finish_erasures() == 1


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_it_waits_for_writers_of_the_person(redis: Redis) -> None:
    erasing = threading.Thread(target=erase_and_leave)
    with transaction.atomic():
        add_profile(ID, FIRST, LAST)
        erasing.start()
        erasing.join(0.5)
        assert erasing.is_alive(), "the tombstone did not wait for the writer"
    erasing.join()
    assert not Profile.objects.exists()
    assert places(redis, FIRST) == set()


def is_somebody_waiting() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_it_is_repeated_after_a_deadlock_with_a_batch(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the two, PostgreSQL ends the one that has waited for ``deadlock_timeout``: the erasure."""
    erase_from_apps, has_profile = erasure.person_erased.send, threading.Event()

    def await_batch(**person: Any) -> object:
        """Go on to the update, which the batch holds, when the batch waits for the profile."""
        if not has_profile.is_set():
            has_profile.set()
            deadline = time.monotonic() + 60
            while not is_somebody_waiting():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        return erase_from_apps(**person)

    monkeypatch.setattr(erasure.person_erased, "send", await_batch)
    add_profile(ID, FIRST, LAST)
    add_update(message(9, "Олег", link={"sender": {"user_id": int(ID), "first_name": FIRST}}), State.DONE)
    erasing = threading.Thread(target=erase_and_leave)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL deadlock_timeout = '60s'")
        InboxUpdate.objects.select_for_update().get()
        erasing.start()
        assert has_profile.wait(60)
        add_profile(ID, FIRST, "Новая")
    erasing.join()
    assert places(redis, FIRST) == set()
    assert Erasure.objects.get().counts["webhook_inbox"] == 1


def test_one_that_fails_does_not_hold_up_the_others(api: APIClient) -> None:
    add_profile("1")
    for user_id in ("1", "2"):
        api.delete(f"/profiles/{user_id}")
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    Tombstone.objects.filter(unfinished_id="1").update(erased_at=timezone.now() - timedelta(minutes=3))

    def fail_for_one(person: erasure.ErasedPerson, **_: object) -> None:
        if person.user_id == "1":
            raise OperationalError

    erasure.person_erased.connect(fail_for_one)
    try:
        assert erasure.finish_erasures() == 1
    finally:
        erasure.person_erased.disconnect(fail_for_one)
    assert Tombstone.objects.exclude(unfinished_id="").get().unfinished_id == "1"
    assert erasure.finish_erasures() == 1


def erase_and_leave() -> None:
    erasure.erase(ID, by="x", reason="y")
    connection.close()
