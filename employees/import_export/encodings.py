"""Decode CSV files without guessing: a file that could be read in two ways is refused.

UTF-8 and UTF-16 can be recognized by their bytes. Windows-1251 cannot, so it is accepted only if the result is written
like Russian and no other 8-bit encoding gives a result that is nearly as probable.
"""

import math
import re
from itertools import islice

import regex
from django.utils.translation import gettext as _

# The 8-bit encodings of Russian besides Windows-1251. KOI8-U and DOS 1125 have the same Russian letters as KOI8-R and
# DOS 866.
_OTHER_ENCODINGS = ("koi8_r", "cp866", "cp855", "mac_cyrillic", "iso8859_5")
# The letters' frequencies in Russian, in percent (the National Corpus); ё is more frequent in names than in books.
_FREQUENCIES = dict(
    zip(
        "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",
        (
            *(10.97, 8.45, 8.01, 7.35, 6.70, 6.26, 5.47, 4.73, 4.54, 4.40, 3.49, 3.21, 2.98, 2.81, 2.62, 2.01, 1.90),
            *(1.74, 1.70, 1.65, 1.59, 1.44, 1.21, 0.97, 0.94, 0.73, 0.64, 0.48, 0.36, 0.32, 0.26, 0.04, 0.20),
        ),
        strict=True,
    )
)
_LOG = {letter: math.log(percent / 100) for letter, percent in _FREQUENCIES.items()}
_VOWELS = frozenset("аеёиоуыэюя")
# How much more or less frequent a vowel or a consonant is after one of these than anywhere in Russian, as a logarithm.
_AFTER = {(False, True): 0.45, (False, False): -0.53, (True, True): -1.17, (True, False): 0.4}
# The costs of a symbol and of an irregular capital, which are rare in tables of people.
_RARE = -4.0
# The other result must be e^5, about 150, times less probable.
_MARGIN = 5.0
_LARGEST_SAMPLE = 3_000

_L = "А-Яа-яЁё"
_NO_LOOK_ALIKE = "[A-Za-z--[ABCEHKMOPTXYaceopxy]]"
_QUOTED = re.compile(r"“([^“”\r\n]*)”|„([^„“”\r\n]*)[“”]|‘([^‘’\r\n]*)’|(?<=[А-Яа-яЁё])’(?=[А-Яа-яЁё])")
_NOT_RUSSIAN = regex.compile(
    # a character that Russian tables do not contain; one of the Kazakh and Ukrainian letters may be the other
    rf"(?V1)[^\t-\r\x20-\x7f{_L}\xa0«»–—…№°§•]"
    # a capital within a word that begins small, as in KOI8
    r"|\b[а-яё]+[А-ЯЁ]"
    # a symbol in place of a letter
    rf"|[»…№°§•][{_L}]|[{_L}][«°§•]|(?<![{_L}\d])[–—][{_L}]|(?<![\w.,)»])\xa0[а-яё]"
    # a Russian letter in a word of Latin letters, other than the usual confusion of С with C
    rf"|{_NO_LOOK_ALIKE}[{_L}]|[{_L}]{_NO_LOOK_ALIKE}"
    # ъ, ь and ы at the beginning of a word; й after a consonant; ъ and ь after a vowel
    r"|\b[ЪЬЫъьы]|(?i:[бвгджзклмнпрстфхцчшщ]й|[аеёийоуыэюяъь][ъь])"
)
_IRREGULAR_CAPITAL = re.compile(r"[а-яё][А-ЯЁ]|[А-ЯЁ]{2}[а-яё]")
_CELL = re.compile(rb"[^;,\t\r\n]+")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
# More bytes of an 8-bit encoding hardly ever form valid UTF-8.
_LONGEST_ACCIDENT = 20
_LINE_END = re.compile(r"\r\n|\r|\n")


def _garbled_utf8() -> re.Pattern[str]:
    """Match two Russian letters in UTF-8 that some program has read in an 8-bit encoding."""
    pairs = []
    for encoding in ("latin_1", "cp1252", "cp1251", *_OTHER_ENCODINGS):
        first, second = b"\xd0\xd1".decode(encoding), bytes(range(0x80, 0xC0)).decode(encoding, "ignore")
        pairs.append(f"(?:[{re.escape(first)}][\x80-\x9f{re.escape(second)}]){{2}}")
    return re.compile("|".join(pairs))


_GARBLED_UTF8 = _garbled_utf8()
# Three letters of Western Europe without any of the English alphabet: Windows-1251 read as Windows-1252.
_GARBLED_CP1251 = re.compile(r"(?<![^\W\d_])[À-ÿ¨¸]{3,}(?![^\W\d_])")


class UndecodableFile(ValueError):
    """Raised for a file whose encoding is not certain; the message names a row."""


def is_garbled(text: str) -> bool:
    """Return whether the text is Russian that another program has read in a wrong encoding, such as ``Èâàíîâ``."""
    return not text.isascii() and bool(_GARBLED_UTF8.search(text) or _GARBLED_CP1251.search(text))


def decode(content: bytes) -> str:
    """Return the text of a file in UTF-8, UTF-16 or Windows-1251; raise UndecodableFile for any other."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif len(content) > 1 and 0 in content[:2]:
        encoding = "utf-16-le" if content[1] == 0 else "utf-16-be"
    else:
        encoding = "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return _decode_cp1251(content)
    if "\0" in text:
        raise _undecodable(text, text.index("\0"))
    first = _NON_ASCII.search(text)
    if first and _may_be_8_bit(content, text):
        raise _undecodable(text, first.start())
    return text


def _may_be_8_bit(content: bytes, text: str) -> bool:
    """Return whether the few characters of a text in UTF-8 are Russian words only in an 8-bit encoding."""
    is_russian = _reads_like_russian(text) and re.search(f"[{_L}]{{2}}", text)
    if is_russian or len(content) - len(text) > _LONGEST_ACCIDENT:
        return False
    return any(_reads_like_russian(content.decode(name, "replace")) for name in ("cp1251", *_OTHER_ENCODINGS))


def _reads_like_russian(text: str) -> bool:
    return not _NOT_RUSSIAN.search(_QUOTED.sub("", text))


def _decode_cp1251(content: bytes) -> str:
    text = content.decode("cp1251", errors="replace")
    # Of the same length, so that positions are kept.
    if found := _NOT_RUSSIAN.search(_QUOTED.sub(lambda quoted: f" {quoted[0][1:-1]} "[: len(quoted[0])], text)):
        raise _undecodable(text, found.start())
    cells = (cell[0] for cell in _CELL.finditer(content) if not cell[0].isascii())
    sample = b"\n".join(dict.fromkeys(islice(cells, _LARGEST_SAMPLE)))
    own = sample.decode("cp1251")
    for encoding in _OTHER_ENCODINGS:
        other = sample.decode(encoding, errors="replace")
        if other != own and _reads_like_russian(other) and _log_probability(own) - _log_probability(other) < _MARGIN:
            first = _NON_ASCII.search(text)
            raise _undecodable(text, first.start() if first else 0)
    return text


def _log_probability(text: str) -> float:
    """Return the logarithm of the probability of the letters in Russian; ASCII characters do not count."""
    total, previous = _RARE * len(_IRREGULAR_CAPITAL.findall(text)), None
    for character in text.lower():
        if character in _LOG:
            is_vowel = character in _VOWELS
            total += _LOG[character] + (0 if previous is None else _AFTER[previous, is_vowel])
            previous = is_vowel
        else:
            previous = None
            total += 0 if character.isascii() else _RARE
    return total


def _undecodable(text: str, position: int) -> UndecodableFile:
    row = len(_LINE_END.findall(text, 0, position)) + 1
    message = _("Row %d: the encoding of the file is unclear, or it is not text. Save the file as “CSV UTF-8”.")
    return UndecodableFile(message % row)
