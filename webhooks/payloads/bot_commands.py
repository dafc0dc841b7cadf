"""Parse the bot commands that people use to set their own name."""

import regex

from config.lib import text as texts
from profiles import names

_COMMAND = regex.compile(r"\s*(?:/setname|/имя|меня\s+зовут|мо[её]\s+имя)(?!\w)(?:[^\S\r\n]|[:—–-])*", regex.IGNORECASE)
# A dot after a single letter is an initial ("И. Иванов"), not the end of a sentence.
_END = regex.compile(r"[,\r\n\u2028!?;…]|(?<!(?:^|[\s.])\p{L})\.(?=\s|$)")


def name_given_in(text: str) -> str | None:
    """Return the name given in the text of a message; None if the text is not a command or the name is invalid."""
    composed = texts.composed(text)
    command = _COMMAND.match(composed)
    if not command:
        return None
    try:
        return names.user_provided(_END.split(composed[command.end() :], maxsplit=1)[0])
    except ValueError:
        return None
