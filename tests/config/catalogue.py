"""Reads a .po file: what of it is missing, and what it says."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

CATALOGUE = Path("locale/ru/LC_MESSAGES/django.po")
THIRD_PARTY = Path("locale_thirdparty/ru/LC_MESSAGES/django.po")
_LINE = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr(?:\[\d\])?) (".*")')


@dataclass
class Message:
    is_fuzzy: bool = False
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.parts["msgid"]

    @property
    def translations(self) -> list[str]:
        return [text for name, text in self.parts.items() if name.startswith("msgstr")]


def messages(path: Path) -> list[Message]:
    """Return the messages, without the header."""
    found = []
    for block in path.read_text().split("\n\n"):
        message, name = Message(is_fuzzy="#, fuzzy" in block), ""
        for line in block.splitlines():
            if match := _LINE.fullmatch(line):
                name = match[1]
                message.parts[name] = ast.literal_eval(match[2])
            elif line.startswith('"'):
                message.parts[name] += ast.literal_eval(line)
        if message.parts.get("msgid"):
            found.append(message)
    return found


def missing(path: Path) -> list[str]:
    """Return the messages that are fuzzy or lack a translation, such as one of the plural forms of the header."""
    forms = int(re.search(r"nplurals=(\d)", path.read_text())[1])  # type: ignore[index]
    return [
        message.text
        for message in messages(path)
        if message.is_fuzzy
        or not all(message.translations)
        or len(message.translations) != (forms if "msgid_plural" in message.parts else 1)
    ]
