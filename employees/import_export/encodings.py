"""Decode CSV files without guessing: a file that could be read in two ways is refused.

UTF-8 and UTF-16 can be recognised by their bytes. Windows-1251 cannot, so it is accepted only if the characters,
capitals and pairs of letters of the decoded text are typical of Russian, Ukrainian or Belarusian. A file whose
Ukrainian letters may be Kazakh letters in another encoding is refused too.
"""

import codecs
import re
from collections.abc import Iterator
from itertools import islice

import regex
from django.utils.translation import gettext as _

from employees.letter_pairs import LETTERS, gain

# The 8-bit encodings of Russian besides Windows-1251. KOI8-U and DOS 1125 have the same Russian letters as KOI8-R and
# DOS 866.
_OTHER_ENCODINGS = ("koi8_r", "cp866", "cp855", "mac_cyrillic", "iso8859_5")

_L = LETTERS + LETTERS.upper()
_VOWEL, _CONSONANT = "аеиіоуыэюяєї", "бвгджзйклмнпрстфхцчшщьў"
_QUOTED = re.compile(rf"“([^“”\r\n]*)”|„([^„“”\r\n]*)[“”]|‘([^‘’\r\n]*)’|(?<=[{_L}])’(?=[{_L}])")
_PAIR = re.compile("«([^«»\r\n]*)»")
_VOWELS, _CONSONANTS = _VOWEL + _VOWEL.upper(), _CONSONANT + _CONSONANT.upper()
_LETTERS_OF_RUSSIAN, _LETTERS_OF_UKRAINIAN = "ыэёъЫЭЁЪ", "їєґЇЄҐ"
_LETTERS_OF_BOTH = "".join(letter for letter in _L if letter not in _LETTERS_OF_RUSSIAN + _LETTERS_OF_UKRAINIAN)
# A file may be a single word of megabytes, so none of the patterns reads a word twice.
_NOT_CYRILLIC = [
    re.compile(pattern)
    for pattern in (
        # a character that such tables do not contain
        rf"[^\t-\r\x20-\x7f{_L}\xa0«»–—…№°§•]",
        # a capital within a word that begins with a small letter, as in KOI8
        rf"(?<![{_L}])[{LETTERS}]++[{LETTERS.upper()}]",
        # a symbol in place of a letter
        (
            rf"[»…№°§•«–—\xa0](?:(?<=[»…№°§•])[{_L}]|(?<=[{_L}][«°§•])|(?<=[–—])(?<![{_L}\d].)[{_L}]"
            rf"|(?<=\xa0)(?<![\w.,)»].)[{LETTERS}])"
        ),
        # a Ukrainian or Belarusian letter where none is written, as in Kazakh that is read in the wrong encoding
        (
            rf"[їєґўЇЄҐЎ](?:(?<=[{_CONSONANTS}][їЇўЎ])|(?<=[єЄ])[аиоіуыэюяАИОІУЫЭЮЯ]|(?<=[ўЎ])[{_VOWELS}]"
            rf"|(?<=[{_CONSONANTS}][ґҐ])[{_CONSONANTS}]|(?<=[ґҐ])(?<![{_L}'].)(?![вджзлнрВДЖЗЛНР]?[{_VOWELS}])"
            rf"|(?<=Ў)(?<![{_L}].)(?![{LETTERS.upper()}])|(?<=ў)(?<![{_L}].)[{_L}]{{,3}}+(?![{_L}]))"
        ),
        rf"[{_LETTERS_OF_UKRAINIAN}][{_LETTERS_OF_BOTH}]*+[{_LETTERS_OF_RUSSIAN}]|[{_LETTERS_OF_RUSSIAN}][{_LETTERS_OF_BOTH}]*+[{_LETTERS_OF_UKRAINIAN}]",
    )
]
# Adjacent letters of the two alphabets; and a word with letters of both, unless its only Latin letter looks like a
# Cyrillic one, as in Cмирнов.
_TWO_ALPHABETS = re.compile(rf"[A-Za-z](?:[{_L}]|(?<=[{_L}].))")
_PARTLY_LATIN = re.compile(
    rf"(?<!\w)(?=[{_L}]*+[A-Za-z])(?![{_L}]*+[ABCEHKMOPTXYaceopxy]?[{_L}]*+(?!\w))[A-Za-z]*+[{_L}]"
)
_WORD = re.compile(rf"[{_L}]+")
# In PT154 and KZ-1048, these are letters of Kazakh, Tatar and Bashkir: Әлия, Үміт, Өнер and Мусаұлы become Єлия, Їміт,
# Ґнер and Мусаўлы.
_AMBIGUOUS_WORD = re.compile(
    rf"(?:(?<![{LETTERS}'’])[{LETTERS}'’]*[єїґ]|(?<![{LETTERS}])ў)[{LETTERS}'’]*+|ўлы(?![{LETTERS}])"
)
# Where only Ukrainian and Belarusian write them: Матвєєв, Заєць, Сергієнко, Євген, Єгор, Андріївна, Їжак.
_UNAMBIGUOUS = re.compile(
    rf"[аеиіоуыэюя](?:є(?:[вцє]|нк)|ї[{_CONSONANT}])|['’]є|ьє(?:в|нк)|єєв|(?<=[{LETTERS}]{{3}})єв[аіу]?(?![{LETTERS}])"
    rf"|(?<![{LETTERS}'’])(?:є(?:в(?:ге|д[ою]|мен|пр|с[еєтю]|т[иу])|гор|ф[иі]м|фрем|щ|лизав)|їжа)"
    rf"|\A[^єґ]*+[єґ].*(?:ьо|(?:[еє]нко|[шч]ко|[сцз]ьк(?:ий|а|ого|ому)|чук|юк)(?![{LETTERS}]))"
)
# The sizes of a sample: in cells, and in bytes.
_LARGEST_SAMPLE, _LONGEST_SAMPLE = 3_000, 300_000
# The scores, in bits, of texts that are certainly Cyrillic. A text without capitals may be Hebrew, the more so if it
# lacks the letters of _NOT_IN_HEBREW.
_ENOUGH, _ENOUGH_WITHOUT_CAPITALS = 2, 12
# Another reading is possible if its score is _ENOUGH, or if it is at least _POSSIBLE and at most _CERTAIN bits lower
# than the score in Windows-1251.
_CERTAIN, _POSSIBLE = 8, -1
_NOT_IN_HEBREW = frozenset("ыьэюяё")
# The lowest evidence of a word, the lowest of an abbreviation, and the highest of any word. They are limited, because
# names come from all languages.
_UNUSUAL_WORD, _ABBREVIATION, _MOST = -5, -2, 100
_IS_ABBREVIATION = re.compile(rf"[{LETTERS.upper()}]{{1,5}}|[{LETTERS.upper()}][{_L}]*[{LETTERS.upper()}]{{2}}")
# The bytes of a word of two letters may be a Chinese character, but a rare one for these names.
_SHORT_NAMES = frozenset({"ли", "ян"})
_CELL = re.compile(rb"[^;,\t\r\n]+")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
# The bytes of small letters in DOS 866, such as “хан”, may be Chinese characters in UTF-8.
_SMALL_RUSSIAN = re.compile(r"[\x00-@\[-`{-\x7fа-яё]*")
# More bytes of an 8-bit encoding hardly ever form valid UTF-8.
_LONGEST_ACCIDENT = 20
# The byte order marks, which make an encoding certain.
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Such characters in valid UTF-8 show that the file is in another encoding.
_NO_CHARACTER = regex.compile(r"[\p{Unassigned}\p{Private_Use}]")
_LINE_END = re.compile(r"\r\n|\r|\n")
# A letter of another alphabet in a word of Latin letters, except for letters that look like Latin ones.
_OTHER = r"[^\p{Latin}\p{Common}\p{Inherited}АВЕКМНОРСТУХІЈЅаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧο]"
_MIXED_WORD = regex.compile(rf"(?V1)\p{{Latin}}{_OTHER}|{_OTHER}\p{{Latin}}")
# A small letter, not of ASCII, between capitals.
_MIXED_CASE = regex.compile(r"(?V1)\p{Lu}[\p{Ll}--\p{ASCII}]\p{Lu}")
# The encodings that write other letters in ASCII: ISO 2022 by escape sequences, HZ in braces, UTF-7 in Base64, which is
# more than the digits of a phone.
_SHIFT = regex.compile(
    r"\x1b[ -/]+[0-~]|~\{(?:[!-}][!-~])+~\}|\+[0-9+/]*+(?![A-Za-z])(*SKIP)(*FAIL)|\+[A-Za-z0-9+/]{3,}+-?"
)
_LETTERS_ONLY = regex.compile(r"[\p{M}\p{P}\p{Zs}]*+\p{L}[\p{L}\p{M}\p{P}\p{Zs}]*+")


def _garbled_utf8() -> re.Pattern[str]:
    """Return a pattern for Russian text in UTF-8 that another program has read in an 8-bit encoding.

    It matches four characters that were two letters, if at least one of the four is not in our alphabets. Without this
    condition, it would also match the beginning of “лилия”, because “зз” becomes “лили” in DOS 855.
    """
    pairs = []
    for encoding in ("latin_1", "cp1252", "cp1251", *_OTHER_ENCODINGS):
        first, second = b"\xd0\xd1".decode(encoding), bytes(range(0x80, 0xC0)).decode(encoding, "ignore")
        first, second = f"[{re.escape(first)}]", f"[\x80-\x9f{re.escape(second)}]"
        pairs.append(f"{first}(?:(?![{_L}]){second}{first}{second}|{second}{first}(?![{_L}]){second})")
    return re.compile("|".join(pairs))


def _cyrillic_of_east_asia() -> re.Pattern[str]:
    """Return a pattern for UTF-8 text that, if read as Big5 or Johab, is only ASCII characters and Russian capitals."""
    alternatives = []
    for encoding in ("big5", "johab"):
        characters = (letter.encode(encoding, "ignore").decode(errors="replace") for letter in _L)
        letters = "".join(character for character in characters if len(character) == 1 and character != "\ufffd")
        alternatives.append(rf"[\x00-\x7f{re.escape(letters)}]*")
    return re.compile("|".join(alternatives))


def _garbled_words() -> Iterator[regex.Pattern[str]]:
    """Yield, for each wrong encoding, a pattern for words that consist of garbled Russian letters only.

    Some garbled letters are signs, such as ``×``, and a search would start again after each sign. To keep the search
    fast, the pattern skips a sequence of garbled letters as a whole if the sequence does not match.
    """
    # In Windows-1250 and Windows-1257, words of three such letters may be names.
    for source, encoding, fewest in (
        ("cp1251", "latin_1", 3),
        ("cp1251", "cp1250", 4),
        ("cp1251", "cp1257", 4),
        ("utf-8", "gbk", 3),
        ("utf-8", "cp949", 3),
    ):
        letters = (chr(code).encode(source).decode(encoding, "ignore") for code in (*range(0x410, 0x450), 0x401, 0x451))
        garbled = re.escape("".join(letter for letter in letters if len(letter) == 1))
        yield regex.compile(rf"(?<!\p{{L}})[{garbled}]{{{fewest},}}+(?:(?!\p{{L}})|(*SKIP)(*FAIL))")


_GARBLED_UTF8 = _garbled_utf8()
_CYRILLIC_OF_EAST_ASIA = _cyrillic_of_east_asia()
_BOX, _LINE = r"\u2500-\u259f", "─━│┃═║"
_SYMBOL_FOR_LETTER = regex.compile(
    # Windows-1251 read as DOS 866: a box for a capital, then what becomes of small letters, or boxes only.
    rf"(?V1)(?<!\p{{L}})[{_BOX}][°∙·√№¤■]*+[р-яЁёЄєЇїЎў][р-яЁёЄєЇїЎў°∙·√№¤■]*+(?!\p{{L}})|([{_BOX}])(?!\1)[{_BOX}]"
    # Read as KOI8: a box for Ё, ё or a letter of Ukrainian. Lines also separate words.
    rf"|[[{_BOX}]--[{_LINE}]](?:(?<=\p{{L}}.)|(?=\p{{L}}))"
    # DOS 866 read as Windows-1251, which has no other letters then; Windows-1251 read as MacCyrillic
    r"|[¤¦¬®€‰†‡][а-пЁЄЇЎўЈҐ]|(?<!\p{L})[¬√ƒ≈∆÷€][а-яё€]|(?<=[а-яё])€"
)
_GARBLED = (*_garbled_words(), _SYMBOL_FOR_LETTER)
# The capital И in MacCyrillic, unless it is a quotation mark: »Север« or »Север».
_CLOSING, _CLOSING_FIRST = re.compile(r"(?<=\S)»"), regex.compile(r"»\p{Cyrillic}")
_CYRILLIC_WORD = regex.compile(r"\p{Cyrillic}+")
_SWAPPED = regex.compile(r"(?V1)[\p{Ll}&&\p{Cyrillic}][\p{Lu}&&\p{Cyrillic}]+")


class UndecodableFile(ValueError):
    """Raised for a file whose encoding is not certain; the message names a row."""


def is_garbled(text: str) -> bool:
    """Return whether another program has decoded the text wrongly, as in ``Èâàíîâ``, or has lost letters (U+FFFD)."""
    if text.isascii():
        return False
    if "\N{REPLACEMENT CHARACTER}" in text or _GARBLED_UTF8.search(text):
        return True
    if any(pattern.search(text) for pattern in _GARBLED):
        return True
    return "«" not in text and _CLOSING_FIRST.search(_CLOSING.split(text)[-1]) is not None


def has_swapped_case(text: str) -> bool:
    """Return whether capitals and small letters are swapped, as in misread KOI8 (``йБЮМНБ``) or with Caps Lock.

    At least one Cyrillic word must be a small letter followed by three or more capitals. Each other Cyrillic word must
    be a small letter followed by capitals, a word in capitals, or a single letter.
    """
    words = _CYRILLIC_WORD.findall(text)
    is_swapped = [_SWAPPED.fullmatch(word) is not None for word in words]
    return any(swapped and len(word) > 3 for word, swapped in zip(words, is_swapped, strict=True)) and all(
        swapped or word.isupper() or len(word) == 1 for word, swapped in zip(words, is_swapped, strict=True)
    )


def decode(content: bytes) -> str:
    """Return the text of a file in UTF-8, UTF-16 or Windows-1251; raise UndecodableFile for other encodings."""
    if content[:2] in _MARKS:
        encoding = "utf-16"
    elif len(content) > 1 and not {0, 4}.isdisjoint(content[:2]):
        # Without a mark, a heading in UTF-16 begins with one of these, the high bytes of ASCII and Cyrillic letters.
        encoding = "utf-16-le" if content[1] in (0, 4) else "utf-16-be"
    else:
        encoding = "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return _decode_cp1251(content)
    if "\0" in text:
        raise _undecodable(text, text.index("\0"))
    if content.startswith(_MARKS):
        return text
    if accident := _NO_CHARACTER.search(text):
        raise _undecodable(text, accident.start())
    suspect = _NON_ASCII.search(text) if _may_be_8_bit(content, text) else _shift_in(text)
    if suspect:
        raise _undecodable(text, suspect.start())
    return text


def _may_be_8_bit(content: bytes, text: str) -> bool:
    """Return whether a file that is valid UTF-8 may be a file in another encoding.

    This is so if its few non-ASCII characters form words only in the other encoding.
    """
    if text.isascii():
        return False
    if _CYRILLIC_OF_EAST_ASIA.fullmatch(text):
        return True
    if len(content) - len(text) > _LONGEST_ACCIDENT or _is_cyrillic(text):
        return False
    if _may_be_small_russian(content):
        return True
    # A character of East Asia is three bytes, which are hardly ever letters that form a word.
    enough = _ENOUGH if min(filter(_NON_ASCII.match, text)) >= "\u0800" else None
    if any(_is_cyrillic(content.decode(name, "replace"), enough) for name in ("cp1251", *_OTHER_ENCODINGS)):
        return True
    cells = [cell for cell in re.split(r"[;,\t\r\n\"]+", text) if not cell.isascii()]
    return all(_MIXED_WORD.search(cell) or _MIXED_CASE.search(cell) or _is_east_asian(cell) for cell in cells)


def _may_be_small_russian(content: bytes) -> bool:
    """Return whether, if the file is read as DOS 866, all letters of its non-ASCII cells are small Russian letters.

    This rarely happens by accident: only one in 16 characters of UTF-8 consists of such bytes alone.
    """
    cells = [cell[0].decode("cp866") for cell in _CELL.finditer(content) if not cell[0].isascii()]
    return all(map(_SMALL_RUSSIAN.fullmatch, cells))


def _is_east_asian(cell: str) -> bool:
    """Return whether the cell is a single character in UTF-8 whose two bytes are a letter in an East Asian encoding."""
    content = cell.encode()
    return (
        len(cell) == 1
        and len(content) == 2
        and any(content.decode(name, "ignore").isalpha() for name in ("gb2312", "big5", "euc_kr"))
    )


def _shift_in(text: str) -> regex.Match[str] | None:
    """Find the first sequence in ASCII text that encodes other letters, as in UTF-7; None if there is none."""
    if not text.isascii():
        return None
    # The whole text is decoded, because phones with a plus sign are hardly ever valid UTF-7.
    is_utf_7 = _from_utf_7(text) is not None
    return next(
        (found for found in _SHIFT.finditer(text) if found[0][0] != "+" or (is_utf_7 and _is_letters(found[0]))), None
    )


def _is_letters(shift: str) -> bool:
    return _LETTERS_ONLY.fullmatch(_from_utf_7(shift) or "") is not None


def _from_utf_7(text: str) -> str | None:
    try:
        return text.encode().decode("utf-7")
    except UnicodeDecodeError:
        return None


def _decode_cp1251(content: bytes) -> str:
    text = content.decode("cp1251", errors="replace")
    cells = (cell[0] for cell in _CELL.finditer(content) if not cell[0].isascii())
    sample = b"\n".join(dict.fromkeys(islice(cells, _LARGEST_SAMPLE)))[:_LONGEST_SAMPLE]
    own = sample.decode("cp1251", errors="replace")
    is_unclear = (
        not _is_cyrillic(own) or _may_be_turkic(own) or any(_may_be(name, sample, own) for name in _OTHER_ENCODINGS)
    )
    if (position := _not_cyrillic(text)) is not None:
        raise _undecodable(text, position)
    if is_unclear and (first := _NON_ASCII.search(text)):
        raise _undecodable(text, first.start())
    return text


def _may_be(encoding: str, sample: bytes, own: str) -> bool:
    """Return whether the sample may be in this encoding, with a text other than ``own``, its text in Windows-1251.

    The scores of the letter pairs in both texts decide. In MacCyrillic, the two scores hardly differ, because all small
    Russian letters except ё and я have the same bytes as in Windows-1251. The sample may therefore be in MacCyrillic,
    whatever the scores are, if nothing in it is impossible in Russian.
    """
    text, own = (_PAIR.sub(r"\1", each) for each in (sample.decode(encoding, errors="replace"), own))
    if text == own or {"«", "»"} & set(text) or _not_cyrillic(text) is not None:
        return False
    return encoding == "mac_cyrillic" or _score(text) >= min(_ENOUGH, max(_score(own) - _CERTAIN, _POSSIBLE))


def _may_be_turkic(own: str) -> bool:
    """Return whether most words with є, ї, ґ or ў may be Turkic words in PT154 or KZ-1048.

    In these encodings, the bytes of the four letters are letters of Kazakh, Tatar and Bashkir.
    """
    words = set(_AMBIGUOUS_WORD.findall(own.lower()))
    return 2 * sum(_UNAMBIGUOUS.search(word) is not None for word in words) < len(words)


def _is_cyrillic(text: str, enough: int | None = None) -> bool:
    """Return whether the words are certainly Russian, Ukrainian or Belarusian; ASCII characters do not count.

    ``enough`` is the lowest score, in bits, that counts as certain.
    """
    if _not_cyrillic(text) is not None:
        return False
    if enough is None:
        enough = _ENOUGH
        words = _WORD.findall(text)
        if all(map(str.islower, words)):
            if not any(map(_NOT_IN_HEBREW.intersection, words)):
                return False
            enough = _ENOUGH_WITHOUT_CAPITALS
    return _score(text) >= enough


def _score(text: str) -> int:
    return sum(map(_evidence, set(_WORD.findall(text))))


def _not_cyrillic(text: str) -> int | None:
    """Return the first position at which the text cannot be Russian, Ukrainian or Belarusian; None if there is none."""
    text = _without_quotes(text)
    patterns = [*_NOT_CYRILLIC, _PARTLY_LATIN] if _TWO_ALPHABETS.search(text) else _NOT_CYRILLIC
    return min((found.start() for pattern in patterns if (found := pattern.search(text))), default=None)


def _without_quotes(text: str) -> str:
    """Replace paired quotation marks and apostrophes with spaces, so that all other characters keep their positions."""
    if not any(mark in text for mark in "“„‘’"):
        return text
    return _QUOTED.sub(lambda quoted: f" {quoted[0][1:-1]} "[: len(quoted[0])], text)


def _evidence(word: str) -> int:
    """Return how much evidence the word gives, in bits, that its text was decoded with the right encoding.

    Negative values are evidence of a wrong encoding.
    """
    if word.lower() in _SHORT_NAMES:
        return _ENOUGH
    is_regular = word.isupper() or word[1:].islower()
    # A word of a few letters may be an abbreviation or Chinese characters.
    most = _MOST if is_regular and len(word) >= (5 if word.isupper() else 3) else 0
    least = _ABBREVIATION if _IS_ABBREVIATION.fullmatch(word) else _UNUSUAL_WORD
    # Most texts write е for ё, so that pairs with ё are rarer than in names.
    return min(max(gain(word), gain(word.lower().replace("ё", "е")), least), most)


def _undecodable(text: str, position: int) -> UndecodableFile:
    row = len(_LINE_END.findall(text, 0, position)) + 1
    message = _("Row %d: the encoding of the file is unclear, or the file is not text. Save it as “CSV UTF-8”.")
    return UndecodableFile(message % row)
