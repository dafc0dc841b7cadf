import threading
import time

import pytest

from webhooks.notify import listen, notifier, wait

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_works() -> None:
    listener = listen()
    started = time.monotonic()
    threading.Timer(0.2, notifier.notify).start()
    wait(listener, 5)
    assert 0.1 < time.monotonic() - started < 2
    listener.close()


def test_a_notification_between_two_waits_is_not_missed() -> None:
    listener = listen()
    notifier.notify()
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
