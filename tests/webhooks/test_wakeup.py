import threading
import time

import pytest

from webhooks.notify import Listener, notifier

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_announcement_wakes_the_listener() -> None:
    listener = Listener()
    listener.wait(0)
    started = time.monotonic()
    threading.Timer(0.2, notifier.announce).start()
    listener.wait(5)
    assert 0.1 < time.monotonic() - started < 2
    listener.close()


def test_what_came_while_nobody_waited_is_not_missed() -> None:
    listener = Listener()
    listener.wait(0)
    notifier.announce()
    time.sleep(0.3)
    started = time.monotonic()
    listener.wait(5)
    assert time.monotonic() - started < 1
    listener.close()


def test_without_one_the_sweep_comes() -> None:
    listener = Listener()
    started = time.monotonic()
    listener.wait(0.2)
    assert 0.15 < time.monotonic() - started < 2
    listener.close()
