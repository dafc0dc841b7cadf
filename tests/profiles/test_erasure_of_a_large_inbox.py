"""An erasure that has no time to search all bodies of the inbox says so, and a task completes it."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone
from redis import Redis
from rest_framework.test import APIClient

from profiles.models import PhoneLink, Tombstone
from profiles.personal_data import erasure
from tests.profiles.all_stores import FIRST, ID, PHONE, add_update, message, places
from tests.profiles.people import add_profile
from webhooks.models import InboxUpdate, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.erasure._SLICE", 2)


def mentioned(number: int) -> dict[str, object]:
    return message(9, "Олег", link={"sender": {"user_id": int(ID), "first_name": FIRST}}, number=number)


def make_due() -> None:
    Tombstone.objects.update(erased_at=timezone.now() - timedelta(minutes=2))
    InboxUpdate.objects.update(received_at=timezone.now() - timedelta(minutes=3))


def without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.erasure.seconds_left", lambda: 0.0)
    monkeypatch.setattr("webhooks.erasure.SEARCH_SECONDS", 0.0)


def test_it_finds_every_mention(api: APIClient, redis: Redis) -> None:
    """More rows than a slice, in every state, some finished at the same moment."""
    for number in range(5):
        add_update(mentioned(number), State.DONE)
        add_update(mentioned(number), State.DEAD)
        add_update(message(8, "Яна"), State.QUARANTINED)
    InboxUpdate.objects.exclude(state=State.DEAD).update(finished_at=timezone.now())
    assert api.delete(f"/profiles/{ID}").status_code == 204
    assert places(redis, FIRST) == set()
    assert InboxUpdate.objects.filter(body__isnull=False).count() == 5


def test_it_says_that_it_is_not_complete(api: APIClient, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    add_profile(ID, FIRST)
    own = add_update(message(), State.DONE, user_id=ID)
    add_update(mentioned(1), State.DONE)
    with monkeypatch.context() as patch:
        without_time(patch)
        answer = api.delete(f"/profiles/{ID}")
        assert (answer.status_code, answer.json()) == (202, {"status": "searching"})
        own.refresh_from_db()
        assert own.body is None
        assert api.get(f"/profiles/{ID}").json()["source"] == "default"
        make_due()
        assert erasure.finish_erasures() == 0
    assert places(redis, FIRST) == {"webhook_inbox"}
    assert erasure.finish_erasures() == 1
    assert places(redis, FIRST) == set()
    assert Tombstone.objects.get().progress == {}


def test_it_continues_where_it_stopped(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the phone whose link the first pass has deleted, and at the row where the time ended."""
    PhoneLink.objects.create(phone=PHONE, user_id=ID, observed_at=timezone.now())
    texts = [f"Звоните {PHONE}" if number < 2 else "Привет" for number in range(6)]
    for number, text in enumerate(texts):
        add_update(message(9, "Олег", number=number, text=text), State.DONE)
    # Time for one slice of each part.
    clock = iter(range(100))
    with monkeypatch.context() as patch:
        patch.setattr("webhooks.erasure.seconds_left", lambda: 7.5)
        patch.setattr("webhooks.erasure.time", SimpleNamespace(monotonic=lambda: next(clock)))
        assert api.delete(f"/profiles/{ID}").status_code == 202
    assert not PhoneLink.objects.exists()
    assert InboxUpdate.objects.filter(body__isnull=False).count() == 6
    place = Tombstone.objects.get().progress["webhook_inbox"]
    assert (place["part"], place["id"]) == (2, InboxUpdate.objects.order_by("-pk")[1].pk)
    make_due()
    assert erasure.finish_erasures() == 1
    assert InboxUpdate.objects.filter(body__isnull=False).count() == 4
