from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from profiles.merge import TimestampedValue
from webhooks.payloads import MalformedUpdate, duplicate_keys, moment_of, read, type_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MOMENT = datetime(2026, 4, 1, 6, 40, 4, 499000, tzinfo=UTC)
TIMESTAMP = 1775025604499


def update(user: Any, **fields: Any) -> dict[str, Any]:
    return {"update_type": "bot_started", "timestamp": TIMESTAMP, "user": user, **fields}


def test_it_reads_names_with_the_time_of_the_update() -> None:
    reading = read(update({"user_id": 2**63 - 1, "first_name": " Анна\u202e ", "last_name": ""}), NOW)
    assert reading.profile_update
    assert reading.user_id == str(2**63 - 1)
    assert reading.profile_update.first_name == TimestampedValue(True, MOMENT, "Анна")
    assert reading.profile_update.last_name == TimestampedValue(True, MOMENT, "")


@pytest.mark.parametrize("last_name", [None, " ", 5, {}])
def test_an_unusable_last_name_is_ignored(last_name: object) -> None:
    reading = read(update({"user_id": 7, "first_name": "Анна", "last_name": last_name}), NOW)
    assert reading.profile_update
    assert reading.profile_update.last_name is None


def test_the_deprecated_name_ranks_below_a_first_name() -> None:
    reading = read(update({"user_id": 7, "name": "Boris"}), NOW)
    assert reading.profile_update
    assert reading.profile_update.first_name == TimestampedValue(False, MOMENT, "Boris")


def test_a_bot_is_not_a_person() -> None:
    reading = read(update({"user_id": 7, "first_name": "Бот", "is_bot": True}), NOW)
    assert (reading.user_id, reading.profile_update) == ("7", None)


@pytest.mark.parametrize(
    "user_id", [0, -1, 2**63, True, 1.5, None, "", "01", "0", "a b", "я", "x" * 65, [], str(2**63)]
)
def test_it_refuses_a_person_without_a_usable_id(user_id: object) -> None:
    with pytest.raises(MalformedUpdate):
        read(update({"user_id": user_id, "first_name": "Анна"}), NOW)


@pytest.mark.parametrize("user", ["Анна", 7, [], True])
def test_it_refuses_a_user_that_is_not_an_object(user: object) -> None:
    with pytest.raises(MalformedUpdate):
        read(update(user), NOW)


@pytest.mark.parametrize("timestamp", [None, -1, "1", True, 1e400, 10**30, TIMESTAMP * 10])
def test_an_invalid_time_is_the_time_of_receipt(timestamp: object) -> None:
    assert moment_of({"timestamp": timestamp}, NOW) == NOW


def test_five_minutes_ahead_are_allowed() -> None:
    ahead = NOW + timedelta(minutes=5)
    assert moment_of({"timestamp": int(ahead.timestamp() * 1000)}, NOW) == ahead
    assert moment_of({"timestamp": int(ahead.timestamp() * 1000) + 1}, NOW) == NOW


@pytest.mark.parametrize(
    ("kind", "recipient", "name"),
    [
        ("message_created", {"chat_type": "dialog"}, "Иван"),
        ("message_created", {"chat_type": "chat"}, None),
        ("message_created", {"chat_type": "channel"}, None),
        ("message_created", {}, None),
        ("comment_created", {"chat_type": "dialog"}, None),
    ],
)
def test_a_command_works_only_in_a_dialog(kind: str, recipient: dict[str, str], name: str | None) -> None:
    message = {"sender": {"user_id": 7}, "recipient": recipient, "body": {"mid": "m", "text": "/имя Иван"}}
    profile_update = read({"update_type": kind, "timestamp": TIMESTAMP, "message": message}, NOW).profile_update
    assert (profile_update and profile_update.user_provided_name and profile_update.user_provided_name.value) == name


def test_unknown_types_are_other() -> None:
    assert type_of({"update_type": "x" * 10_000}) == type_of({"update_type": 5}) == type_of({}) == "other"


def message(kind: str, mid: str, timestamp: int) -> dict[str, Any]:
    return {"update_type": kind, "timestamp": timestamp, "message": {"body": {"mid": mid}}}


def key(value: dict[str, Any], body: bytes = b"", at: datetime = NOW) -> bytes:
    return duplicate_keys(value, body, at)[0]


def test_a_message_is_recognised_by_its_id() -> None:
    first = message("message_created", "m1", 1)
    assert key(first) == key(message("message_created", "m1", 2))
    assert key(first) != key(message("message_created", "m2", 1))
    assert key(first) != key(message("comment_created", "m1", 1))


def test_an_edit_is_recognised_by_its_id_and_time() -> None:
    assert key(message("message_edited", "m1", 1)) != key(message("message_edited", "m1", 2))


def test_a_callback_is_recognised_by_its_own_id_and_time() -> None:
    def callback(callback_id: str, timestamp: int) -> dict[str, Any]:
        inner = {"callback_id": callback_id, "timestamp": timestamp}
        return {"update_type": "message_callback", "timestamp": 9, "callback": inner}

    assert key(callback("c", 1)) == key(callback("c", 1), b"other bytes")
    assert len({key(callback("c", 1)), key(callback("c", 2)), key(callback("d", 1))}) == 3


def test_other_events_are_recognised_by_chat_person_and_time() -> None:
    event = update({"user_id": 7}, chat_id=5)
    assert key(event) == key(update({"user_id": 7, "first_name": "Анна"}, chat_id=5), b"x")
    assert key(event) != key(update({"user_id": 8}, chat_id=5))
    assert key(event) != key(update({"user_id": 7}, chat_id=6))


def test_an_unknown_type_is_recognised_by_its_own_name() -> None:
    event = update({"user_id": 7}, chat_id=5, update_type="brand_new")
    assert key(event) == key(event, b"x") != key(event | {"update_type": "newer"})


def test_without_a_key_the_body_is_the_key_for_10_minutes() -> None:
    legacy = {"type": "message_new", "message": {"from": {"user_id": "7"}}}
    assert key(legacy, b"body") == key(legacy, b"body", NOW + timedelta(minutes=9))
    assert key(legacy, b"body") != key(legacy, b"other")
    later, earlier = duplicate_keys(legacy, b"body", NOW + timedelta(minutes=11))
    assert later != key(legacy, b"body") == earlier
