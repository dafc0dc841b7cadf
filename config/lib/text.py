"""The rules for text that people enter: which characters are kept, and which are visible."""

import re
import unicodedata
from functools import lru_cache

import regex

# Fields that are not cleaned at the edge: a secret, and a name that is refused, not cleared, if nothing remains of it.
AS_GIVEN = ("password", "user_provided_name")

# The texts that clean() returns unchanged and that are the most frequent: Latin and Cyrillic words, single spaces.
_PLAIN = re.compile(r"[!-~À-ɏЀ-ӿ]+(?: [!-~À-ɏЀ-ӿ]+)*")
_SURROGATE = regex.compile(r"[\ud800-\udfff]")
# White space, and what looks like it: the Hangul fillers, which are the only ignorable letters, and the braille blank.
_SPACE = regex.compile(r"(?V1)[\s\u2800[\p{L}&&\p{Default_Ignorable_Code_Point}]]+")
# In an emoji, a joiner, a variation selector and the tags of a flag are kept; in Chinese characters, a selector is.
_JOINER = r"(?<=\p{Extended_Pictographic}\ufe0f?|\p{Emoji_Modifier})\u200d(?=\p{Extended_Pictographic})"
_SELECTOR = (
    r"(?<=[\p{Extended_Pictographic}\p{Emoji_Presentation}\p{Han}])\p{Variation_Selector}|(?<=[0-9#*])\ufe0f(?=\u20e3)"
)
_TAG = r"(?<=\U0001f3f4[\U000e0020-\U000e007e]*)[\U000e0020-\U000e007f]"
# The prepended marks, such as the Arabic number sign, are the only visible format characters.
_INVISIBLE = regex.compile(
    rf"(?V1)(?!{_JOINER}|{_SELECTOR}|{_TAG})"
    r"[[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]--\p{Prepended_Concatenation_Mark}]"
)
# This block contains two letters without ink, the full and the half blank.
_VISIBLE = regex.compile(
    r"(?V1)[[\p{L}\p{N}\p{Extended_Pictographic}\p{Emoji_Presentation}]"
    r"--[\p{Default_Ignorable_Code_Point}\p{Block=Egyptian_Hieroglyph_Format_Controls}]]"
)
_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}")
_DASH = regex.compile(r"\s*\p{Dash}+\s*")
_QUOTE = regex.compile(r"[\p{Quotation_Mark}`´ʹʺʼ′″]+")
# The letters that look the same, large or small, in Unicode's list of confusable characters.
_LOOK_ALIKES = str.maketrans("aceopxyisjhkmtbqwgһӏαβγεηικμοπρτυφχ", "асеорхуіѕјнкмтвԛԝԍніавгенікмопртуфх")
# What a terminal obeys instead of showing it, but for the line break, the tab and, where it shows colours, their codes.
_COMMANDS = regex.compile(r"(?V1)[[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]--[\n\t]]")
_COMMANDS_BUT_COLOURS = regex.compile(rf"(?V1)\x1b\[[0-9;]*m(*SKIP)(*FAIL)|{_COMMANDS.pattern.removeprefix('(?V1)')}")


def clean(text: str) -> str:
    """Return the text in NFC on one line, without control, escape, bidirectional and invisible characters.

    White space is collapsed, and a lone surrogate becomes U+FFFD. Cleaning twice has no further effect.
    """
    # This check costs a twentieth of the steps below.
    if _PLAIN.fullmatch(text):
        return text
    text = _INVISIBLE.sub("", _SPACE.sub(" ", replace_surrogates(text)))
    return unicodedata.normalize("NFC", _SPACE.sub(" ", text)).strip()


def is_visible(text: str) -> bool:
    """Return whether the text contains a letter, digit or emoji that is not blank, by Unicode's properties."""
    return _VISIBLE.search(text) is not None


@lru_cache(4096)
def look_alike_key(text: str) -> str:
    """Return a key that is equal for texts that look the same in capitals, but for the kinds of dashes and quotes.

    Invisible characters do not count. Latin and Greek letters with a Cyrillic look-alike count as Cyrillic.
    """
    folded = unicodedata.normalize("NFKC", clean(_IGNORABLE.sub("", text))).casefold()
    return clean(_QUOTE.sub(' " ', _DASH.sub("-", folded)).translate(_LOOK_ALIKES))


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates with U+FFFD.

    JSON and shell arguments can contain them, but responses and tables cannot.
    """
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def for_terminal(text: str, *, has_colours: bool = False) -> str:
    """Remove what would control the terminal instead of being shown on it; keep colours with ``has_colours``."""
    return (_COMMANDS_BUT_COLOURS if has_colours else _COMMANDS).sub("", text)
