"""A person is erased everywhere and stays erased; what stays is counted and says nothing of them."""

import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis
from rest_framework.test import APIClient

from employees.backfill import batches
from employees.models import Employee, IdempotentRequest, University, UnresolvedName
from profiles import cache, erasure
from profiles.models import Comparison, PhoneLink, Profile
from profiles.models.tombstones import Tombstone
from tests.conftest import client_of
from tests.profiles.everywhere import (
    EVERYWHERE,
    FIRST,
    ID,
    LAST,
    OWN,
    PHONE,
    TOKEN,
    message,
    person_everywhere,
    places,
    said,
)
from tests.profiles.people import know
from tests.servers import FaultyServer
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


@pytest.fixture
def employee(university: University, api: APIClient, settings: Settings) -> Employee:
    settings.MAX_BOT_TOKEN = TOKEN
    return person_everywhere(university, api)


# Who is employed by which phone and MAX id stays, and since when.
WITH_PHONE = {"employees", "employee_history_historicalemployee"}


def test_it_works(api: APIClient, employee: Employee, redis: Redis) -> None:
    assert places(redis, FIRST, LAST, OWN) == EVERYWHERE
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


def test_however_deep_somebody_else_hid_them(superadmin: User) -> None:
    deep = b"[" * 450 + b'{"user_id": %d}' % int(ID) + b"]" * 450
    update = said({}, State.DONE)
    InboxUpdate.objects.filter(pk=update.pk).update(body=b'{"update_type": "bot_started", "deep": %b}' % deep)
    assert client_of(superadmin).delete(f"/profiles/{ID}").status_code == 204
    assert InboxUpdate.objects.get().body is None


def test_only_a_later_update_brings_the_person_back(api: APIClient, redis: Redis) -> None:
    earlier = timezone.now()
    know(ID, FIRST, LAST)
    api.delete(f"/profiles/{ID}")
    said(message(at=earlier), State.PENDING)
    process_inbox()
    assert not Profile.objects.exists()
    said(message(first_name="Новое"), State.PENDING)
    process_inbox()
    assert Profile.objects.get().first_name == "Новое"
    assert api.get(f"/profiles/{ID}").json()["display_name"].startswith("Новое")


def test_a_clock_ahead_of_ours_does_not_outlive_the_tombstone(api: APIClient) -> None:
    ahead = timezone.now() + timedelta(minutes=3)
    said(message(at=ahead))
    process_inbox()
    api.delete(f"/profiles/{ID}")
    said(message(at=ahead))
    process_inbox()
    assert not Profile.objects.exists()


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


def test_others_keep_theirs(api: APIClient, employee: Employee, university: University, redis: Redis) -> None:
    know("481516", "Олег", "Другой")
    other = Employee.objects.create(phone="+12025550199", max_id="481516", first_name="Олег", university=university)
    kept = said(message(481516, "Олег", body={"mid": "1", "text": f"1{ID}"}), State.DONE, user_id="481516")
    IdempotentRequest.objects.create(
        user=User.objects.get(username="root"), key="o", answer={"id": other.pk}, status=201
    )
    api.delete(f"/profiles/{ID}")
    other.refresh_from_db()
    kept.refresh_from_db()
    assert (other.first_name, Profile.objects.get().first_name) == ("Олег", "Олег")
    assert (kept.body is not None, kept.user_id) == (True, "481516")
    assert IdempotentRequest.objects.get().key == "o"
    assert redis.exists("profile:user:481516")


def test_somebody_elses_update_is_worked_off_first(api: APIClient, redis: Redis) -> None:
    said(message(9, "Олег", link={"sender": {"user_id": int(ID), "first_name": FIRST}}))
    api.delete(f"/profiles/{ID}")
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(seconds=61))
    InboxUpdate.objects.update(received_at=timezone.now() - timedelta(minutes=2))
    assert erasure.finish_erasures() == 0
    process_inbox()
    assert Profile.objects.get().first_name == "Олег"
    assert erasure.finish_erasures() == 1
    assert places(redis, FIRST) == set()


def test_what_was_under_way_is_caught_by_the_second_pass(api: APIClient, employee: Employee, redis: Redis) -> None:
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


def test_the_second_pass_leaves_what_came_later(api: APIClient, employee: Employee) -> None:
    api.delete(f"/profiles/{ID}")
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    know(ID, "Новое", "Имя")
    Employee.objects.filter(pk=employee.pk).update(first_name="Новое", profile_last_updated=timezone.now())
    assert erasure.finish_erasures() == 1
    employee.refresh_from_db()
    assert (employee.first_name, Profile.objects.get().first_name) == ("Новое", "Новое")


def test_redis_that_is_away_is_done_later(api: APIClient, redis: Redis, redis_server: FaultyServer) -> None:
    know(ID, FIRST, LAST)
    redis_server.pause()
    assert api.delete(f"/profiles/{ID}").status_code == 204
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    assert erasure.finish_erasures() == 0
    redis_server.resume()
    cache.breaker.close()
    # It has heard us all the same; one that was killed comes back with its last snapshot.
    redis.set(f"profile:user:{ID}", FIRST)
    assert erasure.finish_erasures() == 1
    assert not redis.exists(f"profile:user:{ID}")


@pytest.mark.django_db(transaction=True)
def test_it_waits_for_who_is_writing_the_person(redis: Redis) -> None:
    erasing = threading.Thread(target=erase_and_leave)
    with transaction.atomic():
        know(ID, FIRST, LAST)
        erasing.start()
        erasing.join(0.5)
        assert erasing.is_alive(), "the tombstone was set past a writer that had not seen it"
    erasing.join()
    assert not Profile.objects.exists()
    assert places(redis, FIRST) == set()


def erase_and_leave() -> None:
    erasure.erase(ID, by="x", reason="y")
    connection.close()
