"""An inbox process that is frozen or cut off in the middle of a batch holds its locks for seconds, not for ever."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections
from rest_framework.test import APIClient

from config.postgres import locks
from config.postgres.base import DatabaseWrapper
from profiles import cache
from profiles.models import Profile
from profiles.models.tombstones import Tombstone
from tests.profiles.people import add_profile
from tests.webhooks.inbox_rows import row
from tests.webhooks.test_clocks import dialog
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]


@pytest.fixture
def freeze(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any, str], threading.Event]]:
    """Return a function that has a second thread process the inbox and freezes it before a function is called."""
    monkeypatch.setattr(locks, "IDLE_TIMEOUT_MS", 1000)
    monkeypatch.setattr(DatabaseWrapper, "idle_timeout_ms", 0)
    locks.limit_idle_transactions()
    thawed, threads, original = threading.Event(), [], {}

    def start(place: Any, name: str) -> threading.Event:
        frozen = threading.Event()
        original[name] = getattr(place, name)

        def wait(*args: Any, **arguments: Any) -> Any:
            if threading.current_thread() in threads:
                frozen.set()
                thawed.wait(30)
            return original[name](*args, **arguments)

        def process() -> None:
            with suppress(DatabaseError):
                process_inbox()
            connections.close_all()

        monkeypatch.setattr(place, name, wait)
        threads.append(threading.Thread(target=process))
        threads[0].start()
        assert frozen.wait(10)
        return thawed

    yield start
    thawed.set()
    for thread in threads:
        thread.join()


def test_an_erasure_is_done_after_seconds(
    api: APIClient, freeze: Callable[[Any, str], threading.Event], redis: Any
) -> None:
    add_profile("8", "Анна")
    update = row(State.PENDING, body=dialog("Олег", row().received_at))
    thawed = freeze(cache, "write_through")
    started = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    statuses = []
    while 204 not in statuses:
        assert time.monotonic() - started < 6
        statuses.append(api.delete("/profiles/8").status_code)
    assert set(statuses) <= {204, 503}
    assert not Profile.objects.exists()
    thawed.set()
    deadline = time.monotonic() + 10
    while redis.exists("profile:user:7") or InboxUpdate.objects.get(pk=update.pk).state != State.PENDING:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process_inbox() == 1
    assert Profile.objects.get().first_name == "Олег"


def test_its_updates_are_processed_by_another_process(freeze: Callable[[Any, str], threading.Event]) -> None:
    """Also if it was frozen before it took the lock that erasures wait for."""
    row(State.PENDING, body=dialog("Олег", row().received_at))
    freeze(Profile.objects, "merge")
    assert process_inbox() == 0
    deadline = time.monotonic() + 6
    while not process_inbox():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert Profile.objects.get().first_name == "Олег"


def test_an_erasure_waits_no_longer_than_for_other_locks(
    api: APIClient, freeze: Callable[[Any, str], threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly nine seconds are left for the request, but no profile can be written while it waits."""
    monkeypatch.setattr(locks, "IDLE_TIMEOUT_MS", 20_000)
    monkeypatch.setattr(DatabaseWrapper, "idle_timeout_ms", 0)
    row(State.PENDING, body=dialog("Олег", row().received_at))
    freeze(cache, "write_through")
    started = time.monotonic()
    assert api.delete("/profiles/8").status_code == 503
    assert 1.5 < time.monotonic() - started < 7
    assert not Tombstone.objects.exists()
