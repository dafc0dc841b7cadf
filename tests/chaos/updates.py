"""Random updates, and the names that each person must have once all of them have arrived, in whatever order.

The expected names follow docs/reference/names.md and are computed without the code under test.
"""

import json
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

_LETTERS = "абвгдежзийклмнопрстуфхцчшщэюя"
_UPDATES_PER_PERSON = 10
_HOUR_MS = 3_600_000

Json = dict[str, Any]
# Whether the name is a real one, its time in milliseconds, its text: the greatest wins.
TimestampedValue = tuple[bool, int, str]
Names = dict[str, TimestampedValue]


@dataclass
class Updates:
    """``bodies`` are what is sent; ``names`` has every value that they carry, by user id and field."""

    bodies: list[bytes] = field(default_factory=list)
    names: dict[str, dict[str, list[TimestampedValue]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def carried(self, user_id: str, name: str) -> set[str]:
        """Return all texts that updates carry for a person's name, and ``""`` for a name that some lack."""
        return {text for _, _, text in self.names.get(user_id, {}).get(name, [])} | {""}

    def expected(self) -> dict[str, tuple[str, ...]]:
        """Return first, last and user-provided name by user id; ``""`` where no update carries one."""
        fields = ("first_name", "last_name", "user_provided_name")
        return {
            user_id: tuple(max(values[name])[2] if values[name] else "" for name in fields)
            for user_id, values in self.names.items()
        }


def generate(choice: random.Random, count: int) -> Updates:
    """Return distinct updates of the last hour, several for each person, of kinds that carry different fields."""
    updates = Updates()
    first_id = choice.randrange(10**12, 10**15)
    now = int(time.time() * 1000)
    for number in range(count):
        user_id = first_id + choice.randrange(max(1, count // _UPDATES_PER_PERSON))
        at = now - choice.randrange(_HOUR_MS)
        update, names = choice.choice(_KINDS)(user_id, at, first_id + number)
        updates.bodies.append(json.dumps(update, ensure_ascii=False).encode())
        for name, value in names.items():
            updates.names[str(user_id)][name].append(value)
    return updates


def random_bodies(count: int) -> list[bytes]:
    return generate(random.Random(), count).bodies


def word(number: int) -> str:
    letters = ""
    while number:
        number, index = divmod(number, len(_LETTERS))
        letters += _LETTERS[index]
    return letters.capitalize()


def message(kind: str, user: Json, at: int, number: int, text: str) -> Json:
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


def _full_name(user_id: int, at: int, number: int) -> tuple[Json, Names]:
    first, last = f"Имя {number}", f"Фамилия {number}"
    user = {"user_id": user_id, "first_name": first, "last_name": last, "is_bot": False}
    update = message("message_created", user, at, number, "Здравствуйте")
    return update, {"first_name": (True, at, first), "last_name": (True, at, last)}


def _no_surname(user_id: int, at: int, number: int) -> tuple[Json, Names]:
    first = f"Только {number}"
    user = {"user_id": user_id, "first_name": first, "last_name": ""}
    update = message("message_edited", user, at, number, "Здравствуйте!")
    return update, {"first_name": (True, at, first), "last_name": (True, at, "")}


def _callback(user_id: int, at: int, number: int) -> tuple[Json, Names]:
    first = f"Нажал {number}"
    user = {"user_id": user_id, "first_name": first, "last_name": None}
    callback = {"timestamp": at, "callback_id": f"callback.{number}", "user": user, "payload": "p"}
    update = {"update_type": "message_callback", "timestamp": at, "callback": callback, "message": None}
    return update, {"first_name": (True, at, first)}


def _deprecated_name(user_id: int, at: int, number: int) -> tuple[Json, Names]:
    name = f"Старое {number}"
    user = {"user_id": user_id, "name": name}
    update = {"update_type": "bot_started", "timestamp": at, "chat_id": number, "user": user}
    return update, {"first_name": (False, at, name)}


def _command(user_id: int, at: int, number: int) -> tuple[Json, Names]:
    name = word(number)
    update = message("message_created", {"user_id": user_id}, at, number, f"/setname {name}")
    return update, {"user_provided_name": (True, at, name)}


_KINDS = (_full_name, _no_surname, _callback, _deprecated_name, _command)
