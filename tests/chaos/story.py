"""Updates by the thousand, and what must be known of each person once all of them have arrived, in whatever order.

The expectation follows docs/reference/names.md and is computed without the code under test.
"""

import json
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

_LETTERS = "абвгдежзийклмнопрстуфхцчшщэюя"
_UPDATES_A_PERSON = 10
_HOUR_MS = 3_600_000

# A claim on a name: whether it is a real one, when it was said in milliseconds, the text.
TimestampedValue = tuple[bool, int, str]
Json = dict[str, Any]


@dataclass
class Story:
    bodies: list[bytes] = field(default_factory=list)
    claims: dict[str, dict[str, list[TimestampedValue]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def expected(self) -> dict[str, tuple[str, str, str]]:
        """Return first name, last name and own name by user id; ``""`` for what nobody said."""
        fields = ("first_name", "last_name", "own_name")
        return {
            user_id: tuple(max(said[name])[2] if said[name] else "" for name in fields)  # type: ignore[misc]
            for user_id, said in self.claims.items()
        }


def tell(choice: random.Random, count: int) -> Story:
    """Make distinct updates of the last hour, several a person, of kinds that carry different fields."""
    story = Story()
    first_id = choice.randrange(10**12, 10**15)
    now = int(time.time() * 1000)
    for number in range(count):
        user_id = first_id + choice.randrange(max(1, count // _UPDATES_A_PERSON))
        at = now - choice.randrange(_HOUR_MS)
        update, said = choice.choice(_KINDS)(user_id, at, first_id + number)
        story.bodies.append(json.dumps(update, ensure_ascii=False).encode())
        for name, claim in said.items():
            story.claims[str(user_id)][name].append(claim)
    return story


def _word(number: int) -> str:
    letters = ""
    while number:
        number, index = divmod(number, len(_LETTERS))
        letters += _LETTERS[index]
    return letters.capitalize()


def _message(kind: str, user: Json, at: int, number: int, text: str) -> Json:
    return {
        "update_type": kind,
        "timestamp": at,
        "message": {
            "sender": user,
            "recipient": {"chat_id": number, "chat_type": "dialog"},
            "timestamp": at,
            "body": {"mid": f"mid.{number}", "seq": number, "text": text},
        },
    }


def _full_name(user_id: int, at: int, number: int) -> tuple[Json, dict[str, TimestampedValue]]:
    first, last = f"Имя {number}", f"Фамилия {number}"
    user = {"user_id": user_id, "first_name": first, "last_name": last, "is_bot": False}
    update = _message("message_created", user, at, number, "Здравствуйте")
    return update, {"first_name": (True, at, first), "last_name": (True, at, last)}


def _no_surname(user_id: int, at: int, number: int) -> tuple[Json, dict[str, TimestampedValue]]:
    first = f"Только {number}"
    user = {"user_id": user_id, "first_name": first, "last_name": ""}
    update = _message("message_edited", user, at, number, "Здравствуйте!")
    return update, {"first_name": (True, at, first), "last_name": (True, at, "")}


def _callback(user_id: int, at: int, number: int) -> tuple[Json, dict[str, TimestampedValue]]:
    first = f"Нажал {number}"
    user = {"user_id": user_id, "first_name": first, "last_name": None}
    callback = {"timestamp": at, "callback_id": f"callback.{number}", "user": user, "payload": "p"}
    update = {"update_type": "message_callback", "timestamp": at, "callback": callback, "message": None}
    return update, {"first_name": (True, at, first)}


def _deprecated_name(user_id: int, at: int, number: int) -> tuple[Json, dict[str, TimestampedValue]]:
    name = f"Старое {number}"
    user = {"user_id": user_id, "name": name}
    update = {"update_type": "bot_started", "timestamp": at, "chat_id": number, "user": user}
    return update, {"first_name": (False, at, name)}


def _command(user_id: int, at: int, number: int) -> tuple[Json, dict[str, TimestampedValue]]:
    own_name = _word(number)
    update = _message("message_created", {"user_id": user_id}, at, number, f"/setname {own_name}")
    return update, {"own_name": (True, at, own_name)}


_KINDS = (_full_name, _no_surname, _callback, _deprecated_name, _command)
