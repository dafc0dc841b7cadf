"""What code tells people: its text and the words in it are kept apart, and read in the language of whoever reads."""

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
    """A text of the catalogue (``make messages`` finds it by this name); ``str()`` is in the language that is active.

    A word is a string, a number, another sentence, or a list of sentences, which are read one after the other. A number
    with a fraction is kept with a point, as text, and gets the reader's decimal mark here.
    """

    msgid: str
    words: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return translation.gettext(self.msgid) % {name: _read(word) for name, word in self.words.items()}

    def as_json(self) -> StoredMessage:
        return {"msgid": self.msgid, "words": {name: _kept(word) for name, word in self.words.items()}}

    @classmethod
    def from_json(cls, kept: StoredMessage) -> Message:
        return cls(kept["msgid"], {name: _found(word) for name, word in kept["words"].items()})


# An operator's own words are a string, in whatever language.
Text: TypeAlias = Message | str

# What reading one raises that another release kept: a word that its text asks for is missing, or of another kind.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
_LIST = "%(sentences)s"
# As code writes a number or a percentage into a word: “98.5”, “98.5 %”.
_FRACTION = re.compile(r"([+-]?\d+)\.(\d+)(\s?%)?")


def listed(sentences: Iterable[Message]) -> Message:
    """Return a sentence that is nothing but others; each is read once."""
    return Message(_LIST, {"sentences": list(sentences)})


def to_columns(text: Text, limit: int) -> tuple[str, StoredMessage | None]:
    """Return what the column of text keeps, for searches and for the release before, and the column beside it."""
    with translation.override(settings.LANGUAGE_CODE):
        shown = str(text).strip()[:limit]
    return shown, {**text.as_json(), "text": shown} if isinstance(text, Message) else None


def from_columns(text: str, kept: StoredMessage | None) -> Text:
    """Return what is kept; the text where there is no sentence, that of an earlier text, or one that cannot be read.

    The release before writes texts, and leaves the column beside them as it was.
    """
    is_of_text = isinstance(kept, dict) and kept.get("text") == text
    return (readable(kept) or text) if is_of_text else text


def readable(kept: Any) -> Message | None:
    """Return a sentence that ``str()`` can read in the language that is active; None for one that another code kept."""
    try:
        sentence = Message.from_json(kept)
        str(sentence)
    except UNREADABLE:
        return None
    return sentence


def number(text: str) -> str:
    """Return a number, or a percentage, with the reader's decimal mark; any other text as it is."""
    mark = formats.get_format("DECIMAL_SEPARATOR")
    return _FRACTION.sub(rf"\g<1>{mark}\g<2>\g<3>", text) if _FRACTION.fullmatch(text) else text


def _read(word: Any) -> Any:
    if isinstance(word, list):
        return "; ".join(dict.fromkeys(map(str, word)))
    return number(word) if isinstance(word, str) else word


def _kept(word: Any) -> Any:
    if isinstance(word, list):
        return [one.as_json() for one in word]
    return word.as_json() if isinstance(word, Message) else word


def _found(word: Any) -> Any:
    if isinstance(word, list):
        return [Message.from_json(one) for one in word]
    return Message.from_json(word) if isinstance(word, dict) else word
