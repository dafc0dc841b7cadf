"""Phone numbers, normalized to the canonical form that the directory uses as a key."""

import re

import regex
from django.utils.translation import gettext as _

from profiles import typed_values

_PUNCTUATION = regex.compile(r"[\s\p{Dash}().]+")
_RUSSIAN = re.compile(r"(?:\+7|7|8)?([0-9]{10})")
_E164 = re.compile(r"\+[1-9][0-9]{7,14}")
# The assigned country codes of E.164 (ITU-T, complement to E.164): none is the beginning of another.
_COUNTRY_CODE = re.compile(
    "[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|21[12368]|2[2346][0-9]|25[0-8]|29[01789]|3[57][0-9]"
    "|38[0-35-79]|42[013]|5[09][0-9]|67[02-9]|68[0-35-9]|69[0-2]|80[08]|85[02356]|87[08]|88[0-368]|96[0-8]|97[0-79]"
    "|99[2-68]"
)
# The countries where a zero alone is dialled before the number, also in Russia before an area code. Not those where a
# carrier's code may follow it, as in Brazil.
_ZERO_IS_PREFIX = re.compile(
    "7|2[07]|3[1-3]|4[013469]|5[1348]|6[0-46]|8[1246]|9[0-58]|21[1238]|23[1-4]|24[39]|25[0-24-6]|26[0-5]|291|35[3589]"
    "|37[3-57]|38[0-35-79]|42[13]|508|59[03-68]|686|85[056]|88[06]|96[1-467]|97[01267]|99[4-6]"
)
# Those whose numbers themselves begin with a zero, from Italy to Tajikistan.
_ZERO_IS_DIGIT = re.compile("39|22[5679]|24[12]|378|992")
# Other national prefixes, with the length of the numbers that they precede.
_OTHER_PREFIXES = {"1": ("1", 10), **dict.fromkeys(("370", "993"), ("8", 8)), **dict.fromkeys(("375", "998"), ("8", 9))}
_FIRST_PARENTHESES = regex.compile(
    r"([\s().\p{Dash}]*+\+[\s(]*+([0-9][0-9\s).\p{Dash}]*+)\([\s(.\p{Dash}]*+)([0-9][0-9\s.\p{Dash}]*+)(\)?)"
)
_NO_DIGIT = re.compile("[^0-9]+")
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

    Removed are invisible characters, a leading apostrophe, spaces, dashes, dots and parentheses, the ``.0`` of a
    spreadsheet's number, and the zero of ``+49 (0) 170`` and ``+44 (020)``. Other national prefixes in parentheses are
    refused. A single dot is refused, because it may be a decimal point, and so are dates, times and IP addresses.
    Russian numbers (``8…``, ``7…``, ``+7…`` or ten digits) become ``+7XXXXXXXXXX``; any other number must be ``+``
    followed by 8 to 15 ASCII digits.
    """
    text = typed_values.plain(phone)
    digits = _PUNCTUATION.sub("", _without_trunk_zero(text)) if len(text) <= _LONGEST else ""
    russian = _RUSSIAN.fullmatch(digits)
    is_foreign = _E164.fullmatch(digits) and not digits.startswith("+7")
    if (russian or is_foreign) and (_USUAL.fullmatch(text) or not _OTHER_NUMBER.fullmatch(text)):
        return f"+7{russian[1]}" if russian else digits
    raise ValueError(_("Enter a Russian phone number, or + and 8 to 15 digits."))


def _without_trunk_zero(text: str) -> str:
    """Return the text without the zero in parentheses that is dialled only within the country.

    Return an empty text if the parentheses hold another national prefix, or if it is uncertain what they hold.
    """
    found = _FIRST_PARENTHESES.match(text)
    if found is None:
        return text
    code, inside, rest = (_NO_DIGIT.sub("", part) for part in (found[2], found[3], text[found.end() :]))
    if not _COUNTRY_CODE.fullmatch(code):
        # +38 (063) is +380 63. Behind a complete code and more digits, a zero belongs to the number.
        return text if inside[0] != "0" or _COUNTRY_CODE.match(code + inside) else ""
    number = inside + rest
    if inside[0] != "0":
        prefix, length = _OTHER_PREFIXES.get(code, ("", 0))
        return "" if inside[0] == prefix and len(number) != length else text
    if _ZERO_IS_DIGIT.fullmatch(code):
        return text
    is_certain = _ZERO_IS_PREFIX.fullmatch(code) and found[4] and not number.startswith("00")
    return found[1] + text[found.start(3) + 1 :] if is_certain else ""


def masked(phone: str) -> str:
    """Return the phone as logs show it: an ellipsis and the last two digits."""
    return f"…{phone[-2:]}"
