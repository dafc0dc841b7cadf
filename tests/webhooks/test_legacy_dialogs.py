"""Bot commands in the legacy shape: a message without a chat, or with an empty one, is a dialog message."""

from typing import Any

import pytest
from django.utils import timezone

from webhooks.payloads import read

WITHOUT: dict[str, Any] = {"from": {"user_id": "7"}, "text": "/setname Анна"}


def own_name(**message: Any) -> str:
    update = read({"type": "message_new", "message": WITHOUT | message}, timezone.now()).profile_update
    return str(update.user_provided_name.value) if update and update.user_provided_name else ""


@pytest.mark.parametrize(
    "message", [{}, {"chat": None}, {"chat": {}}, {"chat": {"type": "private"}}, {"chat": {"type": "dialog"}}]
)
def test_it_works(message: dict[str, Any]) -> None:
    assert own_name(**message) == "Анна"


@pytest.mark.parametrize("chat", [[], {"type": "group"}, {"type": None}, {"chat_id": 1}, "private", 0])
def test_any_other_chat_is_no_dialog(chat: Any) -> None:
    assert own_name(chat=chat) == ""
