"""The log line of an extracted profile: the fields of docs/reference/metrics.md, without names, after the commit."""

import json
import logging
import re
from typing import Any

import pytest

from config.lib.logs import formatter
from profiles.models import Profile
from tests.webhooks.sending import send
from webhooks.models import InboxUpdate
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]

UPDATE = {"update_type": "bot_started", "timestamp": 1000, "chat_id": 7, "user": {"user_id": 7, "first_name": "Анна"}}


def extracted(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    lines = [json.loads(line) for record in caplog.records for line in formatter().format(record).splitlines()]
    return [line for line in lines if line.get("event") == "profile_extracted"]


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_it_works(caplog: pytest.LogCaptureFixture) -> None:
    send(UPDATE, x_request_id="0123456789abcdef-1")
    process_inbox()
    (line,) = extracted(caplog)
    assert line.pop("processing_time_ms") > 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "INFO",
        "component": "webhook_handler",
        "message": "profile extracted",
        "event": "profile_extracted",
        "user_id": "7",
        "has_first_name": True,
        "has_last_name": False,
        "source": "webhook",
        "request_id": "0123456789abcdef-1",
    }


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "Анна", 'a"\n'])
def test_an_invalid_request_id_is_replaced(given: str) -> None:
    send(UPDATE, x_request_id=given)
    assert re.fullmatch(r"[0-9a-f]{32}", InboxUpdate.objects.get().request_id)


def test_the_updates_of_an_envelope_share_one_id(caplog: pytest.LogCaptureFixture) -> None:
    send({"updates": [UPDATE, UPDATE | {"timestamp": 2000}] * 5}, x_request_id="e0e0e0e0e0e0e0e0e0")
    process_inbox()
    assert [line["request_id"] for line in extracted(caplog)] == ["e0e0e0e0e0e0e0e0e0"] * 2


def test_a_rolled_back_profile_is_not_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError

    send(UPDATE, x_request_id="0123456789abcdef-2")
    with monkeypatch.context() as patch:
        patch.setattr(InboxUpdate.objects, "finish", fail)
        assert process_inbox() == 0
    assert not Profile.objects.exists()
    assert extracted(caplog) == []
    assert [vars(record)["request_id"] for record in caplog.records if "request_id" in vars(record)] == [
        "0123456789abcdef-2"
    ]
