"""Messages that are stored as a msgid with parameters, and translated when somebody reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from django.conf import settings
from django.utils import formats, translation

StoredMessage: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """A msgid of the catalogue and its parameters; ``str()`` translates it into the active language.

    A parameter is a string, a number, another message, or a list of messages, which are joined. ``str()`` localizes a
    string that is a number or a percentage: “1 538”, “98.5”, “98.5 %”.
    """

    msgid: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return translation.gettext(self.msgid) % {name: _shown(param) for name, param in self.params.items()}

    def as_json(self) -> StoredMessage:
        return {"msgid": self.msgid, "words": {name: _to_json(param) for name, param in self.params.items()}}

    @classmethod
    def from_json(cls, stored: StoredMessage) -> Message:
        return cls(stored["msgid"], {name: _from_json(param) for name, param in stored["words"].items()})


# What an operator wrote is a plain string, which nobody translates.
Text: TypeAlias = Message | str

# Raised by a message that another release stored with other parameters than its msgid has here.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
_JOINED = "%(sentences)s"
# A number or a percentage as thousands() and percent_of() write it.
_NUMBER = re.compile(r"[+-]?[\d\u202f]+(\.\d+)?(\s?%)?")


def join_messages(messages: Iterable[Message]) -> Message:
    """Return a message that shows each of the messages once, separated by semicolons."""
    return Message(_JOINED, {"sentences": list(messages)})


def to_columns(text: Text, limit: int) -> tuple[str, StoredMessage | None]:
    """Return the values of a text column, for searches and the previous release, and of the JSON column beside it."""
    with translation.override(settings.LANGUAGE_CODE):
        shown = str(text).strip()[:limit]
    return shown, {**text.as_json(), "text": shown} if isinstance(text, Message) else None


def from_columns(text: str, stored: StoredMessage | None) -> Text:
    """Return the stored message; the text where there is no readable message, or one that belongs to another text.

    The previous release writes the text column alone.
    """
    is_of_text = isinstance(stored, dict) and stored.get("text") == text
    return (parse_message(stored) or text) if is_of_text else text


def parse_message(stored: Any) -> Message | None:
    """Return the message of a JSON value; None for a value that cannot be shown in the active language."""
    try:
        message = Message.from_json(stored)
        str(message)
    except UNREADABLE:
        return None
    return message


def localize(text: str) -> str:
    """Return a number or a percentage as the active language writes it, other text unchanged."""
    if not _NUMBER.fullmatch(text):
        return text
    mark = formats.get_format("DECIMAL_SEPARATOR")
    return text.replace("\u202f", ",").replace(" %", "%") if mark == "." else text.replace(".", mark)


def thousands(number: float) -> str:
    return f"{number:,.0f}".replace(",", "\u202f")


def percent_of(share: float) -> str:
    return f"{100 * share:.1f} %"


def _shown(param: Any) -> Any:
    if isinstance(param, list):
        return "; ".join(dict.fromkeys(map(str, param)))
    return localize(param) if isinstance(param, str) else param


def _to_json(param: Any) -> Any:
    if isinstance(param, list):
        return [message.as_json() for message in param]
    return param.as_json() if isinstance(param, Message) else param


def _from_json(param: Any) -> Any:
    if isinstance(param, list):
        return [Message.from_json(stored) for stored in param]
    return Message.from_json(param) if isinstance(param, dict) else param
