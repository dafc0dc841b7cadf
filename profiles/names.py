"""The rules for names: how they are cleaned, which names people may choose, and how a name is displayed."""

import regex
from django.utils.translation import gettext as _

from config.lib import text as texts

NAME_LENGTH = 100
UNKNOWN = "Неизвестно"

# A JSON Schema pattern. Schemathesis takes the whole block U+20D0 to U+20FF for marks, but its end is unassigned.
_EXCLUDED = rf".*[\u20f1-\u20ff{texts.BLANK_LETTERS}]"
USER_PROVIDED = rf"^(?!{_EXCLUDED})[\p{{L}}\p{{M}} .'’ʼ‘`‐‑–-]*\p{{L}}[\p{{L}}\p{{M}} .'’ʼ‘`‐‑–-]*$"
_USER_PROVIDED = regex.compile(USER_PROVIDED)


def clean(text: str) -> str:
    """Return the name as it is stored: cleaned, and shortened to 100 characters without splitting a grapheme.

    Return ``""`` if no letter, digit or emoji is visible (docs/reference/names.md).
    """
    tidy = cut = texts.clean(text)
    if len(tidy) > NAME_LENGTH:
        cut = ""
        for grapheme in regex.findall(r"\X", tidy[: NAME_LENGTH * 4]):
            if len(cut) + len(grapheme) > NAME_LENGTH:
                break
            cut += grapheme
        cut = (cut or tidy[:NAME_LENGTH]).strip()
    return cut if texts.is_visible(cut) else ""


def user_provided(text: str) -> str:
    """Return the cleaned user-provided name; raise ValueError if it is invalid."""
    tidy = texts.clean(text)
    if not texts.is_visible(tidy) or len(tidy) > NAME_LENGTH or not _USER_PROVIDED.fullmatch(tidy):
        raise ValueError(_("Use 1 to 100 letters, spaces, hyphens, apostrophes or dots."))
    return tidy


def display(user_provided_name: str, first_name: str, last_name: str) -> str:
    return user_provided_name or f"{first_name} {last_name}".strip()


def split(full_name: str) -> tuple[str, str, str]:
    """Return the first, last and middle name: the first word, the second word and the rest."""
    first, last, middle = ([*full_name.split(" ", 2), "", ""])[:3]
    return first, last, middle
