import threading
import time

import pytest

from tests import loops
from webhooks.notify import Notifier, listen, wait

pytestmark = pytest.mark.django_db(transaction=True)


async def _notify() -> None:
    notifier = Notifier()
    notifier.notify()
    await notifier.stop()


def test_it_works() -> None:
    listener = listen()
    started = time.monotonic()
    threading.Timer(0.2, lambda: loops.run(_notify())).start()
    wait(listener, 5)
    assert 0.1 < time.monotonic() - started < 2
    listener.close()


def test_a_notification_between_two_waits_is_not_missed() -> None:
    listener = listen()
    loops.run(_notify())
    time.sleep(0.3)
    started = time.monotonic()
    wait(listener, 5)
    assert time.monotonic() - started < 1
    listener.close()


def test_without_a_notification_the_wait_times_out() -> None:
    listener = listen()
    started = time.monotonic()
    wait(listener, 0.2)
    assert 0.15 < time.monotonic() - started < 2
    listener.close()
