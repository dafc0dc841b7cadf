"""Phone numbers, normalized to the canonical form that the directory uses as a key."""

import re

import regex
from django.utils.translation import gettext as _

from profiles import typed_values

_PUNCTUATION = regex.compile(r"[\s\p{Dash}().]+")
_RUSSIAN = re.compile(r"(?:\+7|7|8)?([0-9]{10})")
_E164 = re.compile(r"\+[1-9][0-9]{7,14}")
# A zero in parentheses, alone or before the area code, is dialled only within a country, except in those whose numbers
# begin with a zero: Italy, San Marino, Benin, Ivory Coast, Gabon and Congo.
_TRUNK_ZERO = regex.compile(
    r"(\+[\s(]*(?!39|378|225|229|24[12])[1-9][0-9]{0,2}[\s).\p{Dash}]*\(\s*)0(?=[0-9\s.\p{Dash}]*\))"
)
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12][0-9]|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)[0-9]{2}"
_BETWEEN_PARTS = r"\s*(?P<separator>[./]|\p{Dash})\s*"
_TIME = r"(?:[01]?[0-9]|2[0-3])(?P<point>\.|\p{Dash})[0-5][0-9](?:(?P=point)[0-5][0-9])?"


def _date(*parts: str) -> str:
    return parts[0] + _BETWEEN_PARTS + r"\s*(?P=separator)\s*".join(parts[1:])


_LONG_DATE = "|".join((_date(_DAY, _MONTH, _YEAR), _date(_MONTH, _DAY, _YEAR), _date(_YEAR, _MONTH, _DAY)))
_SHORT_DATE = _LONG_DATE.replace(_YEAR, "[0-9]{2}")
_PART_OF_DATE = "|".join((_date(_DAY, _MONTH), _date(_MONTH, _DAY), _date(_MONTH, _YEAR), _date(_YEAR, _MONTH), _YEAR))
_WITHOUT_POINTS = (
    rf"{_YEAR}(?:0[1-9]|1[0-2])[0-3][0-9]|[0-3][0-9](?:0[1-9]|1[0-2]){_YEAR}|(?:[01][0-9]|2[0-3])[0-5][0-9]"
)
_DOTS, _NO_DOTS = r"\s*+\.[\s.]*+", r"(?!\s*+\.[\s.]*+[0-9])[^0-9]++"
_GROUPS = rf"[0-9]++(?:{_NO_DOTS}[0-9]++)*+"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_MOMENT = rf"(?:{_LONG_DATE}|{_SHORT_DATE}|{_PART_OF_DATE}|{_WITHOUT_POINTS}|{_TIME})"
_BETWEEN_MOMENTS = r"[\s./()\p{Dash}]+"
# A number with decimals, an IP address, a date, or several of them: without punctuation, it would be another phone.
_OTHER_NUMBER = regex.compile(
    # a negative number, or one that begins with its decimals
    r"[^0-9]*[.\p{Dash}][^0-9]*[0-9].*"
    # dots between digits, unless they separate three or more groups of them in succession, after a 7 or 8
    rf"|(?![^0-9]*{_GROUPS}[^0-9]*$|[^0-9]*(?:[78]{_DOTS})?{_GROUPS}(?:{_DOTS}[0-9]++){{2,}}(?:{_NO_DOTS}[0-9]++)*+[^0-9]*$).*"
    # a single digit after a dot, but for foreign numbers
    r"|[^+]*\.[^0-9]*[0-9](?![0-9]).*"
    rf"|[^0-9+]*{_OCTET}(?:\.{_OCTET}){{3}}[^0-9]*"
    r"|(?:[0-9]{2}([./])[0-9]{2}\1[0-9]{4}|[0-9]{4}([./])[0-9]{2}\2[0-9]{2})(?![0-9]).*"
    rf"|(?:.*[^0-9])?(?:{_LONG_DATE})(?![0-9]).*"
    rf"|(?:{_SHORT_DATE})(?![0-9])[^0-9]*\s.*"
    # dates and times, and a day or an hour before or after them
    rf"|(?:{_DAY}{_BETWEEN_MOMENTS})?{_MOMENT}(?:{_BETWEEN_MOMENTS}{_MOMENT})*(?:{_BETWEEN_MOMENTS}[0-9]{{1,2}})?[^0-9]*"
)
# A JSON Schema pattern for the usual spellings of what ``normalize`` accepts; none of them can be a date.
PATTERN = (
    r"^(?:(?:\+7|7|8)?[0-9]{10}|\+[1-689](?: ?[0-9]){7,14}"
    r"|(?:(?:\+7|7|8)[ -]?)?(?:\([1-9][0-9]{2}\)[ -]?|[0-9]{3}[ -])[0-9]{3}[ -][0-9]{2}[ -]?[0-9]{2})$"
)
_USUAL = re.compile(PATTERN)
# The longest text that may be a phone, with punctuation. _OTHER_NUMBER divides up to 15 digits in all possible ways.
_LONGEST = 100


def normalize(phone: str) -> str:
    """Return the phone in E.164 form; raise ValueError if it is invalid.

    Invisible characters, a leading apostrophe, spaces, dashes, dots and parentheses are removed, and the ``.0`` of a
    spreadsheet's number, and the zero of ``+49 (0) 170`` and ``+44 (020)``. A single dot is refused, because it may be
    that of a decimal number, and so are dates, times and IP addresses. Russian numbers (``8…``, ``7…``, ``+7…`` or ten
    digits) become ``+7XXXXXXXXXX``; any other number must be ``+`` followed by 8 to 15 ASCII digits.
    """
    text = typed_values.plain(phone)
    digits = _PUNCTUATION.sub("", _TRUNK_ZERO.sub(r"\1", text)) if len(text) <= _LONGEST else ""
    russian = _RUSSIAN.fullmatch(digits)
    is_foreign = _E164.fullmatch(digits) and not digits.startswith("+7")
    if (russian or is_foreign) and (_USUAL.fullmatch(text) or not _OTHER_NUMBER.fullmatch(text)):
        return f"+7{russian[1]}" if russian else digits
    raise ValueError(_("Enter a Russian phone number, or + and 8 to 15 digits."))


def masked(phone: str) -> str:
    """Return the phone as logs show it: an ellipsis and the last two digits."""
    return f"…{phone[-2:]}"
