"""``manage.py max_poll``: updates of long polling end in the same inbox."""

import io
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from profiles.models import Profile
from tests.loopback import Answer
from tests.waiting import within
from tests.webhooks.fake_platform import FakePlatform
from webhooks.management.commands import max_poll
from webhooks.models import DuplicateDelivery, InboxUpdate
from webhooks.processing import process_inbox

pytestmark = pytest.mark.django_db(transaction=True)


def started(user_id: int) -> dict[str, Any]:
    user = {"user_id": user_id, "first_name": "Анна"}
    return {"update_type": "bot_started", "timestamp": 1, "chat_id": user_id, "user": user}


def poll(*args: Any) -> tuple[str, str]:
    output, warnings = io.StringIO(), io.StringIO()
    call_command("max_poll", *args, stdout=output, stderr=warnings)
    return output.getvalue(), warnings.getvalue()


@pytest.mark.usefixtures("cache_first")
def test_it_works(platform: FakePlatform) -> None:
    platform.updates = [started(user_id) for user_id in range(1, 251)]
    assert poll("--once", "--marker", "0") == ("Updates fetched: 250; continue with --marker 250\n", "")
    assert [one.query.get("marker") for one in platform.asked[1:]] == ["0", "100", "200", "250"]
    assert process_inbox() == 250
    assert Profile.objects.count() == 250


def test_without_a_marker_it_begins_at_the_newest(platform: FakePlatform) -> None:
    platform.updates = [started(1), started(2)]
    assert poll("--once")[0] == "Updates fetched: 1; continue with --marker 2\n"


def test_no_updates_are_fine(platform: FakePlatform) -> None:
    assert poll("--once")[0] == "Updates fetched: 0\n"


def test_an_update_fetched_before_is_a_duplicate(platform: FakePlatform) -> None:
    platform.updates = [started(1), started(2)]
    for _ in range(2):
        poll("--once", "--marker", "0")
    assert (InboxUpdate.objects.count(), DuplicateDelivery.objects.count()) == (2, 2)


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Have Ctrl-C interrupt: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_ends_it_cleanly(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(max_poll, "WAIT", timedelta(seconds=90))
    platform.updates = [started(1)]

    def press() -> None:
        while len(platform.asked) < 3:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with within(60):
        assert poll()[0] == "Updates fetched: 1; continue with --marker 1\n"
    thread.join()
    assert InboxUpdate.objects.count() == 1
    # The platform's answer ends.
    platform.updates.append(started(2))


def test_an_outage_is_waited_out(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(max_poll, "PAUSE_SECONDS", 0.01)
    platform.updates = [started(1)]
    platform.answers = [
        Answer(200, {"subscriptions": []}),
        Answer(500),
        Answer(200, b"{}"),
        Answer(200, {"updates": [started(1)], "marker": 1}),
        Answer(403, {"code": "access", "message": "Denied"}),
    ]
    with pytest.raises(CommandError, match="403: Denied"):
        poll()
    assert InboxUpdate.objects.count() == 1


def test_it_warns_of_a_subscription(platform: FakePlatform) -> None:
    platform.sends_to("https://directory.example.ru/webhook/max")
    assert "https://directory.example.ru/webhook/max" in poll("--once")[1]


def test_a_failure_ends_a_single_run_with_one_line(platform: FakePlatform) -> None:
    platform.answers = [Answer(200, {"subscriptions": []}), Answer(500)]
    with pytest.raises(CommandError, match=r"^MAX answered with status 500$"):
        poll("--once")


def test_a_wrong_token_is_one_clear_line(platform: FakePlatform, settings: Settings) -> None:
    settings.MAX_BOT_TOKEN = "wrong"
    with pytest.raises(CommandError, match="401"):
        poll()
