"""An inbox process that is frozen or cut off in the middle of a batch holds its locks for seconds, not for ever."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections
from rest_framework.test import APIClient

from config.postgres import base, locks
from config.postgres.base import DatabaseWrapper
from profiles import cache
from profiles.models import Profile
from profiles.models.tombstones import Tombstone
from tests.profiles.people import add_profile
from tests.waiting import PATIENCE, seconds_until, within
from tests.webhooks.inbox_rows import row
from tests.webhooks.test_clocks import dialog
from webhooks import processing
from webhooks.models import InboxUpdate, State
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]


_SETTING = "idle_in_transaction_session_timeout"
_LONG = 100.0


class Frozen:
    """A thread that stands still in a transaction; PostgreSQL ends it only after let_limit_pass().

    With a short limit from the beginning, PostgreSQL would end other transactions of a busy machine too.
    """

    def __init__(self) -> None:
        self.limit = ""
        self.is_reached, self._may_end, self._may_go_on = (threading.Event() for _ in range(3))

    def stand_still(self) -> None:
        self.is_reached.set()
        self._may_end.wait(_LONG)
        if not self._may_go_on.is_set():
            with connection.cursor() as cursor:
                cursor.execute(f"SHOW {_SETTING}")
                self.limit = cursor.fetchone()[0]
                cursor.execute(f"SET LOCAL {_SETTING} = 100")
            self._may_go_on.wait(_LONG)

    def let_limit_pass(self) -> None:
        self._may_end.set()

    def thaw(self) -> None:
        self._may_go_on.set()
        self._may_end.set()


Freeze = Callable[[Any, str], Frozen]


@pytest.fixture
def freeze(monkeypatch: pytest.MonkeyPatch) -> Iterator[Freeze]:
    """Return a function that has a second thread process the inbox and freezes it before a function is called."""
    monkeypatch.setattr(processing, "BATCH_SECONDS", _LONG)
    monkeypatch.setattr(base, "IDLE_TIMEOUT_MS", int(_LONG * 1000))
    monkeypatch.setattr(DatabaseWrapper, "idle_timeout_ms", 0)
    locks.limit_idle_transactions()
    frozen, threads, original = Frozen(), [], {}

    def start(place: Any, name: str) -> Frozen:
        original[name] = getattr(place, name)

        def wait(*args: Any, **arguments: Any) -> Any:
            if threading.current_thread() in threads:
                frozen.stand_still()
            return original[name](*args, **arguments)

        def process() -> None:
            with suppress(DatabaseError):
                process_inbox()
            connections.close_all()

        monkeypatch.setattr(place, name, wait)
        threads.append(threading.Thread(target=process))
        threads[0].start()
        assert frozen.is_reached.wait(PATIENCE)
        return frozen

    yield start
    frozen.thaw()
    for thread in threads:
        thread.join()


def test_an_erasure_is_done_after_seconds(api: APIClient, freeze: Freeze, redis: Any) -> None:
    add_profile("8", "Анна")
    update = row(State.PENDING, body=dialog("Олег", row().received_at))
    frozen = freeze(cache, "write_through")
    frozen.let_limit_pass()
    statuses: list[int] = []

    def erase() -> bool:
        statuses.append(api.delete("/profiles/8").status_code)
        return statuses[-1] == 204

    seconds_until(erase)
    assert set(statuses) <= {204, 503}
    assert frozen.limit == "100s"
    assert not Profile.objects.exists()
    frozen.thaw()
    seconds_until(
        lambda: not redis.exists("profile:user:7") and InboxUpdate.objects.get(pk=update.pk).state == State.PENDING
    )
    assert process_inbox() == 1
    assert Profile.objects.get().first_name == "Олег"


def test_its_updates_are_processed_by_another_process(freeze: Freeze) -> None:
    """Also if it was frozen before it took the lock that erasures wait for."""
    row(State.PENDING, body=dialog("Олег", row().received_at))
    frozen = freeze(Profile.objects, "merge")
    assert process_inbox() == 0
    frozen.let_limit_pass()
    seconds_until(process_inbox)
    assert frozen.limit == "100s"
    assert Profile.objects.get().first_name == "Олег"


def test_an_erasure_waits_no_longer_than_for_other_locks(
    api: APIClient, freeze: Freeze, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly nine seconds are left for the request, but no profile can be written while it waits."""
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_MS", 500)
    row(State.PENDING, body=dialog("Олег", row().received_at))
    freeze(cache, "write_through")
    started = time.monotonic()
    with within(30):
        assert api.delete("/profiles/8").status_code == 503
    assert time.monotonic() - started > 0.4
    assert not Tombstone.objects.exists()
