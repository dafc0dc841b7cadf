"""Messages that are stored as a msgid with parameters, and translated when they are displayed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from django.conf import settings
from django.utils import formats, translation
from django.utils.functional import Promise

StoredMessage: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """A msgid from the message catalogue with its parameters; ``str()`` translates it into the active language.

    A parameter is a string, a number, another message, or a list of messages, which ``str()`` joins with semicolons.
    ``str()`` also localizes strings that are a number or a percentage: “1 538”, “98.5”, “98.5 %”.
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


# Text written by an operator is a plain string, which is not translated.
Text: TypeAlias = Message | str

# Raised when a message stored by another release has other parameters than its msgid has in this release.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
_JOINED = "%(sentences)s"
# Matches a number or a percentage in the format of thousands() and percent_of().
_NUMBER = re.compile(r"[+-]?[\d\u202f]+(\.\d+)?(\s?%)?")


def join_messages(messages: Iterable[Message]) -> Message:
    """Return one message that shows the given messages, separated by semicolons and without duplicates."""
    return Message(_JOINED, {"sentences": list(messages)})


def title_message(title: str | Promise) -> Message:
    """Return a title as a Message, which is translated for each reader.

    Use it as a parameter of a stored message; a string would be stored in the language of the user who causes the
    message.
    """
    with translation.override(None):
        return Message(str(title))


def to_columns(text: Text, limit: int) -> tuple[str, StoredMessage | None]:
    """Return the values of the text column and of the JSON column, which is None for plain text.

    The text column is for searches, and for the previous release, which does not read the JSON column.
    """
    with translation.override(settings.LANGUAGE_CODE):
        shown = str(text).strip()[:limit]
    return shown, {**text.as_json(), "text": shown} if isinstance(text, Message) else None


def from_columns(text: str, stored: StoredMessage | None) -> Text:
    """Return the stored message, or the text if the message is missing, unreadable or does not belong to the text.

    The previous release updates only the text column, so the message beside it may belong to an older text.
    """
    is_of_text = isinstance(stored, dict) and stored.get("text") == text
    return (parse_message(stored) or text) if is_of_text else text


def parse_message(stored: Any) -> Message | None:
    """Return the message in a JSON value; None if it cannot be shown in the active language."""
    try:
        message = Message.from_json(stored)
        str(message)
    except UNREADABLE:
        return None
    return message


def localize(text: str) -> str:
    """Return a number or a percentage in the format of the active language, and other text unchanged."""
    if not _NUMBER.fullmatch(text):
        return text
    mark = formats.get_format("DECIMAL_SEPARATOR")
    return text.replace("\u202f", ",").replace(" %", "%") if mark == "." else text.replace(".", mark)


def thousands(number: float) -> str:
    return f"{number:,.0f}".replace(",", "\u202f")


def percent_of(share: float) -> str:
    return f"{100 * share:.1f} %"


def shown_number(number: float) -> str:
    """Return a whole number in the format of the active language, for example 3,348 in English."""
    return localize(thousands(number))


def shown_percent(share: float) -> str:
    """Return a share from 0 to 1 as a percentage in the format of the active language, for example 98.5% in English."""
    return localize(percent_of(share))


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
