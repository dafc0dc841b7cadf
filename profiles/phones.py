"""Phone numbers, normalized to the canonical form that the directory uses as a key."""

import re

import regex
from django.utils.translation import gettext as _

from profiles import typed_values

_PUNCTUATION = regex.compile(r"[\s\p{Dash}().]+")
_PLAIN = re.compile(r"\+[1-9][0-9]{7,15}|[78]?[0-9]{10}")
_E164 = re.compile(r"\+(?:7[0-9]{10}|[1-689][0-9]{7,14})")
# The assigned country codes of E.164 (ITU-T, complement to E.164): none is the beginning of another.
_COUNTRY_CODE = re.compile(
    "[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|21[12368]|2[2346][0-9]|25[0-8]|29[01789]|3[57][0-9]"
    "|38[0-35-79]|42[013]|5[09][0-9]|67[02-9]|68[0-35-9]|69[0-2]|80[08]|85[02356]|87[08]|88[0-368]|96[0-8]|97[0-79]"
    "|99[2-68]"
)
# The countries where a zero alone is dialled before the number, also in Russia before an area code. Countries where a
# carrier's code may follow the zero, such as Brazil, are not listed.
_ZERO_IS_PREFIX = re.compile(
    "7|2[07]|3[1-3]|4[013469]|5[1348]|6[0-46]|8[1246]|9[0-58]|21[1238]|23[1-4]|24[39]|25[0-24-6]|26[0-5]|291|35[3589]"
    "|37[3-57]|38[0-35-79]|42[13]|508|59[03-68]|686|85[056]|88[06]|96[1-467]|97[01267]|99[4-6]"
)
# The countries where ordinary numbers begin with a zero, such as Italy and Tajikistan, and the codes of no country.
# This list and the one above are from libphonenumber's metadata.
_ZERO_IS_DIGIT = re.compile("39|22[5679]|24[127]|378|800|88[18]|992")
# Country codes with other national prefixes: the 1 of North America, and the 8 that was or is dialled in all countries
# of the former USSR. In a number of a usual length, or a free one of Kyrgyzstan (800…), the digit is no prefix.
_OTHER_PREFIX = re.compile(
    "11(?![0-9]{9}$)|(?:37[0134]|993)8(?![0-9]{7}$)|3728(?!(?:[0-9]{6,7}|[0-9]{9})$)"
    "|(?:375|99[2458])8(?![0-9]{8}$)|3808(?![0-9]{8,9}$)|9968(?!(?:[0-9]{8}|00[0-9]{7})$)"
)
# The codes of _ZERO_IS_PREFIX whose numbers may have more than ten digits, also from libphonenumber's metadata.
_HAS_LONG_NUMBERS = re.compile("31|4[39]|54|62|86|38[13]|972")
_LONGEST_NATIONAL = 10
# What Argentina and Mexico put before a mobile number that is dialled from abroad, in place of the zero.
_MOBILE_MARKS = {"54": "9", "52": "1"}
_DECIMALS = re.compile("[.,]0+$")
# Including the 8 before the number.
_RUSSIAN_LENGTH = 11
_AREA_LENGTH = 3
_DIGITS, _NO_DIGIT = re.compile("[0-9]+"), re.compile("[^0-9]+")
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
# A number with decimals, an IP address, or one or more dates: any of these would be a phone without its punctuation.
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
# Area codes after +7 or 8. Without +7 or 8, only the codes that Russia and Kazakhstan have assigned are accepted, by
# libphonenumber 9.0.43, because 8495 123-456 lacks a digit.
_AREA = "[3-9][0-9]{2}"
_AREA_ALONE = (
    "(?:3(?:0[12]|36|4[1-35-79]|5[1-3]|65|8[1-58]|9[0145])|4(?:01|1[1356]|2[13467]|7[1-5]|8[1-7]|9[1-689])"
    "|7(?:0[0-25-8]|1[0-8]|2[1-9]|47|51|6[0-4]|7[15-8]|85)"
    "|8(?:0[03489]|1[1-8]|2[01]|3[13-6]|4[0-8]|5[15-7]|6[0-35-79]|7[1-37-9])|9[0-9]{2})"
)
_BEGINS_WITH_AREA = re.compile(_AREA_ALONE)
# A JSON Schema pattern for the usual spellings of what ``normalize`` accepts; none of them can be a date.
PATTERN = (
    rf"^(?:\+7[0-9]{{10}}|[78]{_AREA}[0-9]{{7}}|{_AREA_ALONE}[0-9]{{7}}|\+[1-689][0-9]{{7,14}}"
    r"|\+(?!7|1 ?1|(?:37[0-5]|380|99[2-68]) ?8|8(?: ?[0-9]){10}$)"
    rf"(?:{_COUNTRY_CODE.pattern}) ?[1-9](?: ?[0-9]){{6,11}}"
    r"|(?:\+7[ -]?(?:\([1-9][0-9]{2}\)[ -]?|[0-9]{3}[ -])"
    rf"|[78][ -]?(?:\({_AREA}\)[ -]?|{_AREA}[ -])|\({_AREA_ALONE}\)[ -]?|{_AREA_ALONE}[ -])"
    r"[0-9]{3}[ -][0-9]{2}[ -]?[0-9]{2})$"
)
_USUAL = re.compile(PATTERN)
# The longest text that may be a phone, with punctuation. The limit is needed because _OTHER_NUMBER tries all divisions
# of up to 15 digits.
_LONGEST = 100


def normalize(phone: str) -> str:
    """Return the phone in E.164 form; raise ValueError if it is invalid or ambiguous.

    Remove invisible characters, a leading apostrophe, spaces, dashes, dots and parentheses, the ``.0`` of a
    spreadsheet's number, and a zero that is dialled only within the country, as in ``+49 (0) 170`` and ``+44 (020)``.
    Refuse dates, times, IP addresses, digits on several lines, and numbers with a single dot, which may be a decimal
    point. Russian numbers (``8…``, ``7…``, ``+7…`` or ten digits with an assigned area code) become ``+7XXXXXXXXXX``;
    any other number must be ``+`` followed by 8 to 15 ASCII digits, with a country code.
    """
    text = typed_values.plain(phone)
    digits = _PUNCTUATION.sub("", text) if len(text) <= _LONGEST else ""
    is_split = typed_values.has_digits_on_several_lines(phone)
    if is_split or not _PLAIN.fullmatch(digits) or (not _USUAL.fullmatch(text) and _OTHER_NUMBER.fullmatch(text)):
        raise ValueError(_("Enter a Russian phone number, or + and 8 to 15 digits."))
    number = text if _E164.fullmatch(text) else _international(text) if "+" in text else _russian(phone, digits)
    if _E164.fullmatch(number):
        return number
    message = _(
        "Enter a Russian phone number with +7 or 8 and all ten digits, or a foreign one with + and its country code."
        " Leave out any extension and, in a foreign number, the 0 or 8 that is dialled only within the country."
    )
    raise ValueError(message)


def _russian(phone: str, digits: str) -> str:
    """Return the number in +7 form, or an empty string if it is foreign, too short or too long, or has an extension."""
    prefix, national = digits[:-10], digits[-10:]
    # The separate 8 of “8 495 123 456” may be a prefix, but the 8 of the number “8 495 123 456,00” is a digit.
    text = typed_values.bare(phone)
    if _DECIMALS.search(text):
        text = digits
    first = _NO_DIGIT.split(text.lstrip("( "), maxsplit=1)[0]
    # With a digit too many, (863) in (863) 234-56-788 is an area code, not an 8 before another area code.
    has_digit_too_many = prefix and len(first) == _AREA_LENGTH
    lacks_digit = not prefix and (first in ("7", "8") or not _BEGINS_WITH_AREA.match(national))
    return (
        "" if has_digit_too_many or lacks_digit or national[0] in "012" or _has_extension(text, 1) else f"+7{national}"
    )


def _international(text: str) -> str:
    """Return the number in E.164 form, without a zero in parentheses that is dialled only within the country.

    Return an empty string if the text does not begin with a country code, as in ``+8 (495)``, or if it has an extension
    or any other prefix that is dialled only within the country.
    """
    groups = _DIGITS.findall(text)
    digits = "".join(groups)
    # +38 (063) is +380 63.
    found = _COUNTRY_CODE.match("380" if digits.startswith("380") else groups[0])
    if found is None or _has_extension(text, found.end()):
        return ""
    # +8495 123-45-67 is Russian, with a wrong plus sign, and not Vietnamese.
    if digits.startswith("8") and len(digits) == _RUSSIAN_LENGTH and groups[0] != found[0]:
        return ""
    code, national = found[0], digits[found.end() :]
    before, _parenthesis, rest = text[text.index(digits[0]) :].partition("(")
    if _NO_DIGIT.sub("", before) == code:
        inside, is_closed, _rest = rest.partition(")")
        national = _without_zero(code, _NO_DIGIT.sub("", inside) if is_closed else "", national)
    return "" if _begins_with_prefix(code, national) else f"+{code}{national}"


def _without_zero(code: str, inside: str, national: str) -> str:
    """Return the national number without a zero in parentheses, as in ``+49 (0) 170``; keep a zero that is part of it.

    ``inside`` contains the digits in parentheses. Return an empty string if the zero is ambiguous, or if an extension
    follows the number.
    """
    if not inside.startswith("0"):
        return national
    if _ZERO_IS_DIGIT.fullmatch(code):
        # The mobile numbers of Italy begin with 3, all others with 0.
        return national if inside != "0" or (code == "39" and national[1] != "3") else ""
    if not _ZERO_IS_PREFIX.fullmatch(code) or national.startswith("00"):
        return ""
    has_extension = len(national) - 1 > _LONGEST_NATIONAL and not _HAS_LONG_NUMBERS.fullmatch(code)
    return "" if has_extension else national[1:]


def _begins_with_prefix(code: str, national: str) -> bool:
    """Return whether the national number begins with a prefix that is dialled only within the country."""
    if _OTHER_PREFIX.match(f"{code}{national}"):
        return True
    zeros = "00" if _ZERO_IS_DIGIT.fullmatch(code) else "0"
    # After +7, any ten digits are accepted.
    return code != "7" and national.removeprefix(_MOBILE_MARKS.get(code, "")).startswith(zeros)


def _has_extension(text: str, code_length: int) -> bool:
    """Return whether the number ends with an extension, that is, with digits in parentheses.

    Digits in parentheses directly after the country code, which has ``code_length`` digits, are no extension.
    """
    *_groups, last = _DIGITS.finditer(text)
    before = text[: last.start()]
    opening = before.rfind("(")
    return opening > before.rfind(")") and len(_NO_DIGIT.sub("", before[:opening])) > code_length


def masked(phone: str) -> str:
    """Return the phone as logs show it: an ellipsis and the last two digits."""
    return f"…{phone[-2:]}"
