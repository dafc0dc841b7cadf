"""Find and mask phones in the text of logs and in request IDs, in any usual spelling."""

from __future__ import annotations

import re

_START, _END = r"(?<![^\W_])", r"(?![^\W_])"
_HEX = "[0-9a-fA-F]"
_TIME = r"\d\d:?[0-5]\d(?::?[0-5]\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"
_DAY = r"(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_READABLE = (
    rf"{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?",
    rf"(?:19|20)\d\d-?{_DAY}(?:[T _-]{_TIME})?",
    r"\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?",
    rf"{_OCTET}(?:\.{_OCTET}){{3}}(?::\d{{1,5}})?(?!\.\d)",
)
# The punctuation that libphonenumber allows in a phone. A longer group of digits is an ID.
_GROUP, _SEPARATOR = r"\d{1,15}", r"[\s()\[\]（）［］./／_~⁓∼～\-\u00ad\u2010-\u2015\u2212ー－\u200b\u2060]{1,3}"
_NUMBER = re.compile(
    rf"{_START}(?P<readable>{'|'.join(_READABLE)}){_END}|\+?{_START}{_GROUP}{_END}(?:{_SEPARATOR}{_GROUP}{_END})*"
)
# Decimal numbers, such as seconds with a fraction, but not the phone 8.9161112233.
_DECIMAL = re.compile(r"(?![78]\.\d{10}$)\d{1,9}\.\d+")
_FEWEST, _FEWEST_AFTER_PLUS = 10, 8
# UUIDs, IDs of 32 hexadecimal digits, and IDs of at least 16 hexadecimal digits that contain no mobile phone.
_ID = re.compile(
    rf"{_START}(?:{_READABLE[0]}|{_HEX}{{32}}|(?!{_HEX}*?(?<!\d)[78]9\d{{9}}(?!\d)){_HEX}{{16,}}){_END}", re.ASCII
)
_REPEATED_SEPARATORS = re.compile(r"([_.-])[_.-]+")
_LETTERS = re.compile(r"[^\W\d_]+")


def mask_phones(text: str) -> str:
    """Return the text with each phone replaced by “…” and the phone's last two digits.

    A phone has at least ten digits, or eight after a plus sign; up to three characters of punctuation may separate
    groups of digits. These are not phones: UUIDs, dates, times, IPv4 addresses, decimal numbers, and digits next to a
    letter.
    """
    return _NUMBER.sub(_masked, text)


def has_phone(text: str) -> bool:
    """Return whether an ID contains a phone, with any separators and also next to letters: ``id7.916___1234567``.

    These are not phones: UUIDs, dates, times, IPv4 addresses, 16 or more digits, and 32 hexadecimal digits. In other
    groups of 16 or more hexadecimal digits, only a Russian mobile number counts as a phone.
    """
    text = _REPEATED_SEPARATORS.sub(r"\1", text)
    # A comma separates the digits on both sides.
    texts = (text, _LETTERS.sub(",", _ID.sub(",", text)))
    return any(_is_phone(match) for each in texts for match in _NUMBER.finditer(each))


def _masked(match: re.Match[str]) -> str:
    found = match[0]
    return f"…{_digits(found)[-2:]}" if _is_phone(match) and not _DECIMAL.fullmatch(found) else found


def _is_phone(match: re.Match[str]) -> bool:
    fewest = _FEWEST_AFTER_PLUS if match[0].startswith("+") else _FEWEST
    return not match["readable"] and len(_digits(match[0])) >= fewest


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)
