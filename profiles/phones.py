"""Phone numbers, normalized to the canonical form that the directory uses as a key."""

import re

from django.utils.translation import gettext as _

_PUNCTUATION = re.compile(r"[\s\-‐-―().]+")
_RUSSIAN = re.compile(r"(?:\+7|7|8)?([0-9]{10})")
_E164 = re.compile(r"\+[1-9][0-9]{7,14}")
# A JSON Schema pattern for the usual spellings of what ``normalize`` accepts.
_BETWEEN = "[ ()‐-―-]*"
PATTERN = (
    rf"^(?:(?:(?:\+{_BETWEEN}7|7|8){_BETWEEN})?\(?[0-9](?:{_BETWEEN}[0-9]){{9}}"
    rf"|\+{_BETWEEN}[1-689](?:{_BETWEEN}[0-9]){{7,14}})$"
)


def normalize(phone: str) -> str:
    """Return the phone in E.164 form; raise ValueError if it is invalid.

    Spaces, dashes, dots and parentheses are removed. Russian numbers (``8…``, ``7…``, ``+7…`` or ten digits) become
    ``+7XXXXXXXXXX``; any other number must be ``+`` followed by 8 to 15 ASCII digits.
    """
    digits = _PUNCTUATION.sub("", phone)
    if russian := _RUSSIAN.fullmatch(digits):
        return f"+7{russian[1]}"
    if _E164.fullmatch(digits) and not digits.startswith("+7"):
        return digits
    raise ValueError(_("Enter a Russian phone number, or + and 8 to 15 digits."))


def masked(phone: str) -> str:
    """Return the phone as logs show it: an ellipsis and the last two digits."""
    return f"…{phone[-2:]}"
