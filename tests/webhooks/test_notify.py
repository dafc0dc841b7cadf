import signal
import threading
import time
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django.fixtures import Settings

from config.postgres.base import DatabaseWrapper, DeadlineConnection
from profiles.rollout.heartbeat import heartbeat_thread
from tests import loops
from tests.waiting import PATIENCE, pass_deadline, within
from tests.webhooks.inbox_rows import row
from webhooks import notify
from webhooks.management.commands import process_inbox
from webhooks.models import InboxUpdate, State
from webhooks.notify import Listener, Notifier, listen, wait

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_CONNECT_SECONDS", PATIENCE)


async def _notify() -> None:
    notifier = Notifier()
    notifier.notify()
    await notifier.stop()


def test_it_works() -> None:
    listener = listen()
    started = time.monotonic()
    threading.Timer(0.2, lambda: loops.run(_notify())).start()
    with within(30):
        wait(listener, PATIENCE)
    assert time.monotonic() - started > 0.1
    listener.close()


def test_a_notification_between_two_waits_is_not_missed() -> None:
    listener = listen()
    loops.run(_notify())
    time.sleep(0.3)
    with within(30):
        wait(listener, PATIENCE)
    listener.close()


def test_without_a_notification_the_wait_times_out() -> None:
    listener = listen()
    started = time.monotonic()
    wait(listener, 0.2)
    assert time.monotonic() - started > 0.15
    listener.close()


NOWHERE = {"HOST": "127.0.0.1", "PORT": 1}


@pytest.mark.long
def test_without_a_connection_it_waits_and_connects_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DATABASE_DIRECT = connection.settings_dict | NOWHERE
    monkeypatch.setattr(notify, "_RELISTEN_SECONDS", 0.5)
    listener = Listener()
    started = time.monotonic()
    listener.wait(0.2)
    listener.wait(0.2)
    assert time.monotonic() - started > 0.35
    settings.DATABASE_DIRECT = None
    time.sleep(0.5)
    with within(30):
        # It returns at once, since updates may have been stored meanwhile.
        listener.wait(PATIENCE)
    threading.Timer(0.2, lambda: loops.run(_notify())).start()
    with within(30):
        listener.wait(PATIENCE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'", [])
    listener.wait(0.1)
    listener.close()


def test_a_deadline_before_listen_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = list[DeadlineConnection]()
    connect = DeadlineConnection.connect

    def connect_late(**options: Any) -> DeadlineConnection:
        opened.append(connect(**options))
        pass_deadline()
        return opened[0]

    monkeypatch.setattr(DeadlineConnection, "connect", connect_late)
    listener = Listener()
    listener.wait(0)
    listener.close()
    assert [one.closed for one in opened] == [True]


def test_the_inbox_is_processed_without_listen(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """DATABASE_DIRECT_URL is down while DATABASE_URL works."""
    settings.DATABASE_DIRECT = connection.settings_dict | NOWHERE
    monkeypatch.setattr(process_inbox, "SWEEP_SECONDS", 0.1)
    monkeypatch.setattr(DatabaseWrapper, "lock_timeout_ms", 0)
    monkeypatch.setattr(heartbeat_thread, "start", lambda *_: None)
    # Otherwise a worker that fails again and again would never end.
    stop: list[Any] = []
    timer = threading.Timer(PATIENCE, lambda: stop[0]())  # noqa: PLW0108 (it has no element yet)
    timer.start()
    monkeypatch.setattr(signal, "signal", lambda _signum, handler: stop.append(handler))
    rounds: list[int] = []

    def process(*_: object, **__: object) -> int:
        rounds.append(
            InboxUpdate.objects.filter(state=State.PENDING).update(state=State.DONE, finished_at="2026-01-01T00:00Z")
        )
        if len(rounds) == 3:
            stop[0]()
        return 0

    monkeypatch.setattr(process_inbox, "process_inbox", process)
    row(State.PENDING)
    call_command("process_inbox")
    timer.cancel()
    assert rounds == [1, 0, 0]
