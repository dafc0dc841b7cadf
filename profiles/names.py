"""The rules for names: how they are cleaned, which names people may choose, and how a name is displayed."""

import unicodedata

import regex
from django.utils.translation import gettext as _

NAME_LENGTH = 100
UNKNOWN = "Неизвестно"

_SURROGATE = regex.compile(r"[\ud800-\udfff]")
# A zero-width joiner is kept only between the parts of an emoji.
_JOINING = r"(?<=[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f])\u200d(?=\p{Extended_Pictographic})"
_INVISIBLE = regex.compile(rf"(?!{_JOINING})[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_SPACE = regex.compile(r"[\s\u2800\u3164]+")
_SPACE_LIKE = frozenset("\u2800\u3164")
_CONTROL = regex.compile(r"\p{Cc}")
# A JSON Schema pattern. Schemathesis takes the whole block U+20D0 to U+20FF for marks, but its end is unassigned.
USER_PROVIDED = r"^(?!.*[\u20f1-\u20ff])[\p{L}\p{M} .'’ʼ‘`‐‑–-]*\p{L}[\p{L}\p{M} .'’ʼ‘`‐‑–-]*$"
_USER_PROVIDED = regex.compile(USER_PROVIDED)


def _tidy(text: str) -> str:
    # This check costs a tenth of the steps below, and nearly every name passes it.
    if (
        text.isprintable()
        and text == text.strip()
        and "  " not in text
        and not _SPACE_LIKE.intersection(text)
        and unicodedata.is_normalized("NFC", text)
    ):
        return text
    text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    text = _INVISIBLE.sub("", text)
    text = _CONTROL.sub("", _SPACE.sub(" ", text))
    return unicodedata.normalize("NFC", _SPACE.sub(" ", text)).strip()


def clean(text: str) -> str:
    """Return the name as it is stored: at most 100 characters, cut between graphemes; ``""`` if nothing remains.

    Normalize to NFC, remove control, bidirectional and zero-width characters, replace surrogates and collapse spaces
    (docs/reference/names.md).
    """
    tidy = _tidy(text)
    if len(tidy) <= NAME_LENGTH:
        return tidy
    cut = ""
    for grapheme in regex.findall(r"\X", tidy[: NAME_LENGTH * 4]):
        if len(cut) + len(grapheme) > NAME_LENGTH:
            break
        cut += grapheme
    return (cut or tidy[:NAME_LENGTH]).strip()


def user_provided(text: str) -> str:
    """Clean the name that a person has chosen and return it; raise ValueError if it is invalid."""
    tidy = _tidy(text)
    if not tidy or len(tidy) > NAME_LENGTH or not _USER_PROVIDED.fullmatch(tidy):
        raise ValueError(_("Use 1 to 100 letters, spaces, hyphens, apostrophes or dots."))
    return tidy


def display(user_provided_name: str, first_name: str, last_name: str) -> str:
    return user_provided_name or f"{first_name} {last_name}".strip()


def split(full_name: str) -> tuple[str, str, str]:
    """Return the first, last and middle name: the first word, the second word and the rest."""
    first, last, middle = ([*full_name.split(" ", 2), "", ""])[:3]
    return first, last, middle
