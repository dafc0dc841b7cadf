"""Phone numbers, normalized to the canonical form that the directory uses as a key."""

import re

import regex
from django.utils.translation import gettext as _

from profiles import typed_values

_PUNCTUATION = regex.compile(r"[\s\p{Dash}().]+")
_RUSSIAN = re.compile(r"(?:\+7|7|8)?([0-9]{10})")
_E164 = re.compile(r"\+[1-9][0-9]{7,14}")
# A zero in parentheses is dialled only within a country, except in Italy and San Marino.
_TRUNK_ZERO = re.compile(r"(\+[\s(]*(?!39|378)[1-9][0-9]{0,2}[\s)]*)\(\s*0\s*\)")
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12][0-9]|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)[0-9]{2}"
_TIME = r"(?:[01]?[0-9]|2[0-3])(?:\.|\p{Dash})[0-5][0-9]"


def _date(*parts: str) -> str:
    return r"(?:{}\s*(?P<separator>[./]|\p{{Dash}})\s*{}\s*(?P=separator)\s*{})".format(*parts)


_LONG_DATE = "|".join((_date(_DAY, _MONTH, _YEAR), _date(_MONTH, _DAY, _YEAR), _date(_YEAR, _MONTH, _DAY)))
_SHORT_DATE = _LONG_DATE.replace(_YEAR, "[0-9]{2}")
# A negative number, a number with decimals (a phone has no dot, or several), an IP address, or one with a date: without
# its punctuation, it would be another phone. A date with a short year counts only next to a space or a time.
_OTHER_NUMBER = regex.compile(
    r"[^0-9]*\p{Dash}[^0-9]*[0-9].*|[^.]*[0-9]\.[0-9][^.]*"
    r"|(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])(?:\.(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])){3}"
    r"|(?:[0-9]{2}([./])[0-9]{2}\1[0-9]{4}|[0-9]{4}([./])[0-9]{2}\2[0-9]{2})(?![0-9]).*"
    rf"|(?:.*[^0-9])?(?:{_LONG_DATE})(?![0-9]).*"
    rf"|(?:{_SHORT_DATE})(?![0-9])[^0-9]*\s.*|{_TIME}\s[^0-9]*(?:{_SHORT_DATE})"
)
# A JSON Schema pattern for the usual spellings of what ``normalize`` accepts.
_BETWEEN, _AFTER_PLUS = "[ ()‐-―-]*", "[ ()]*"
PATTERN = (
    rf"^(?:(?:(?:\+{_AFTER_PLUS}7|7|8){_BETWEEN})?\(?[0-9](?:{_BETWEEN}[0-9]){{9}}"
    rf"|\+{_AFTER_PLUS}[1-689](?:{_BETWEEN}[0-9]){{7,14}})$"
)


def normalize(phone: str) -> str:
    """Return the phone in E.164 form; raise ValueError if it is invalid.

    Invisible characters, a leading apostrophe, spaces, dashes, dots and parentheses are removed, and the ``.0`` of a
    spreadsheet's number, and the zero of ``+49 (0) 170``. A single dot is refused, because it may be that of a decimal
    number, and so are dates and IP addresses. Russian numbers (``8…``,
    ``7…``, ``+7…`` or ten digits) become ``+7XXXXXXXXXX``; any other number must be ``+`` followed by 8 to 15 ASCII
    digits.
    """
    text = typed_values.plain(phone)
    digits = _PUNCTUATION.sub("", _TRUNK_ZERO.sub(r"\1", text))
    if not _OTHER_NUMBER.fullmatch(text):
        if russian := _RUSSIAN.fullmatch(digits):
            return f"+7{russian[1]}"
        if _E164.fullmatch(digits) and not digits.startswith("+7"):
            return digits
    raise ValueError(_("Enter a Russian phone number, or + and 8 to 15 digits."))


def masked(phone: str) -> str:
    """Return the phone as logs show it: an ellipsis and the last two digits."""
    return f"…{phone[-2:]}"
