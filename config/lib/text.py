"""The rules for text that people enter: which characters are kept, and which are visible."""

import re
import unicodedata
from functools import lru_cache

import regex

# Fields that are not cleaned at the edge: a secret, and a name that is refused, not cleared, if nothing remains of it.
AS_GIVEN = ("password", "user_provided_name")
# Fields with numbers, which are not cleaned: “ 5 ” is refused, because OpenAPI describes no such integer.
NUMBERS = frozenset({"limit", "offset", "plan", "university_id"})
# Fields that are cleaned line by line, because a line break between digits separates two numbers.
LINE_BY_LINE = frozenset({"phone", "max_id", "user_id"})

# The texts that clean() returns unchanged and that are the most frequent: Latin and Cyrillic words, single spaces.
_PLAIN = re.compile(r"[!-~À-ɏЀ-҂Ҋ-ӿ]+(?: [!-~À-ɏЀ-҂Ҋ-ӿ]+)*")
# The texts that composed() returns unchanged and that are the most frequent: no mark, and nothing that joins a letter.
_UNMARKED = re.compile(r"[\x00-\u02ff\u0400-\u0482\u048a-\u04ff\u2010-\u2027№]*")
_SURROGATE = regex.compile(r"[\ud800-\udfff]")
# White space, and what looks like it: the Hangul fillers, which are the only ignorable letters, and the braille blank.
_BLANK = r"[\s\u2800[\p{L}&&\p{Default_Ignorable_Code_Point}]]"
_SPACE = regex.compile(rf"(?V1){_BLANK}{{2,}}+|[{_BLANK}--[ ]]")
# In an emoji, a joiner, a variation selector and the tags of a flag are kept; in Chinese characters, a selector is.
_JOINER = r"(?<=\p{Extended_Pictographic}\ufe0f?|\p{Emoji_Modifier})\u200d(?=\p{Extended_Pictographic})"
_SELECTOR = (
    r"(?<=[\p{Extended_Pictographic}\p{Emoji_Presentation}\p{Han}])\p{Variation_Selector}|(?<=[0-9#*])\ufe0f(?=\u20e3)"
)
_FLAG = r"\U0001f3f4[\U000e0020-\U000e007e]*+\U000e007f?"
# The prepended marks, such as the Arabic number sign, are the only visible format characters.
_INVISIBLE = regex.compile(
    rf"(?V1){_FLAG}(*SKIP)(*FAIL)|(?!{_JOINER}|{_SELECTOR})"
    r"[[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}]--\p{Prepended_Concatenation_Mark}]"
)
# Texts that show nothing: only white space and characters that are removed.
_NOTHING = regex.compile(
    r"(?V1)[\s\u2800\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}"
    r"[[\p{Cc}\p{Cf}]--\p{Prepended_Concatenation_Mark}]]*+"
)
# The time to put marks in order grows with the square of their number, and no writing has more than 30 in a row (UAX
# 15, stream-safe text). In compatibility forms, the sound marks of halfwidth katakana are marks too.
_EXCESS_MARKS = regex.compile(r"([\p{M}\uff9e\uff9f]{30})[\p{M}\uff9e\uff9f]++")
# The block Egyptian_Hieroglyph_Format_Controls contains two letters without ink, the full and the half blank.
_VISIBLE = regex.compile(
    r"(?V1)[[\p{L}\p{N}\p{Extended_Pictographic}\p{Emoji_Presentation}]"
    r"--[\p{Default_Ignorable_Code_Point}\p{Block=Egyptian_Hieroglyph_Format_Controls}]]"
)
# JSON Schema patterns: texts of which clean() leaves nothing, without the characters beyond U+FFFF (as below).
EMPTY_PATTERN = (
    r"^[\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3000\u3164\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff]*$"
)
# The blank letters in a class of a pattern: singly, because a range of characters beyond U+FFFF is an error where
# patterns are compiled without JavaScript's flag u.
BLANK_LETTERS = "\u115f\u1160\u3164\uffa0" + "".join(map(chr, range(0x13430, 0x13460)))
# What is_visible() accepts, except for emoji.
VISIBLE_PATTERN = rf"(?![{BLANK_LETTERS}])[\p{{L}}\p{{N}}]"
_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}")
_DASH = regex.compile(r"(?<!\s)\s*+\p{Dash}[\s\p{Dash}]*+")
_QUOTE = regex.compile(r"[\p{Quotation_Mark}`´ʹʺʼ′″]+")
# The Latin, Greek and Cyrillic letters that look the same in capitals, or if no capital looks like them, as small ones,
# by Unicode's list of confusable characters (UTS 39); but no two letters of the English, Russian or Greek alphabet.
_LOOK_ALIKES = str.maketrans(
    "aɑαbʙβꞵcᴄdҽeεꬲϝẝꞙꬵgƍɡɢᶃһhƞʜηӏꙇiıɩɪιjʝϳkĸκᴋmʍμϻᴍνoοᴏᴑꬽpρqʀᴦꭇꭈsƽꜱtτᴛʋᴜꞟꭎꭒvᴠԝw"
    "ɯᴡxχꭓꭕүyɣʏυᶌỿꭚζᴢæđɖƿϸҍƀƃƅƕƨᴤꝛǝəӡȝɜʒᴈꝫɏͻᴐↄɛөɵθꝋɸφσꭍᴫʌλᴧⱶͷᴎꜿγπᴨψωꞷᴙꞓⱪꝁⱨӌӊꝏꜻl",
    "аааввввссԁееееffffԍԍԍԍԍннннніііііііјјјккккмммммnоооооррԛrrrrѕѕѕтттuuuuuѵѵѡѡ"
    "ѡѡххххууууууууzzӕððþþѣѣбьԋꙅꙅꙅәәззззззұɔɔɔԑѳѳѳѳффʃʃллллͱииͽгппѱꙍꙍяєқҟңҷӈꚙꜹǀ",
)
# The lunate sigma looks like a C, but NFKD replaces it by the usual sigma.
_LUNATE_SIGMA = str.maketrans("Ϲϲ", "Cc")
# A small L that stands for a capital I: next to a Cyrillic letter, or in a word of capitals.
_SMALL_L = regex.compile(r"(?<=\p{Cyrillic})l|l(?=\p{Cyrillic})|(?<!\p{L})(?=l*\p{Lu}l*\p{Lu})[\p{Lu}l]++(?!\p{L})")
# What a terminal obeys instead of showing it, except for line breaks, tabs and, if it shows colours, their codes.
_COMMANDS = regex.compile(r"(?V1)[[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]--[\n\t]]")
_COMMANDS_BUT_COLOURS = regex.compile(rf"(?V1)\x1b\[[0-9;]*m(*SKIP)(*FAIL)|{_COMMANDS.pattern.removeprefix('(?V1)')}")


def clean(text: str) -> str:
    """Return the text in NFC, on one line, without invisible characters and characters that files cannot contain.

    Control, escape and bidirectional characters and Unicode's noncharacters are removed. White space is collapsed, and
    a lone surrogate becomes U+FFFD. Of more than 30 combining marks in a row, the first 30 are kept. Cleaning twice has
    no further effect. The time is linear in the length.
    """
    # This check costs a twentieth of the steps below.
    if _PLAIN.fullmatch(text):
        return text
    text = _INVISIBLE.sub("", _SPACE.sub(" ", replace_surrogates(text)))
    return composed(_SPACE.sub(" ", text)).strip()


def clean_lines(text: str) -> str:
    """Apply ``clean`` to each line."""
    return "\n".join(map(clean, text.splitlines()))


def composed(text: str) -> str:
    """Return the text in NFC, with at most 30 combining marks in a row."""
    # This check costs a tenth of the steps below.
    if _UNMARKED.fullmatch(text):
        return text
    # Limited twice, because normalization may decompose a mark into two.
    return _EXCESS_MARKS.sub(r"\1", unicodedata.normalize("NFC", _EXCESS_MARKS.sub(r"\1", text)))


def is_visible(text: str) -> bool:
    """Return whether the text contains at least one visible letter, digit or emoji, by Unicode's properties."""
    return _VISIBLE.search(text) is not None


def is_blank(text: str) -> bool:
    """Return whether the text has only white space and invisible characters, in less time than clean() takes."""
    return _NOTHING.fullmatch(text) is not None


# Large enough for the names of all universities: each lookup of a new name compares their keys.
@lru_cache(16_384)
def look_alike_key(text: str) -> str:
    """Return a key that is the same for all texts that look alike.

    Differences in case, between kinds of dashes, between kinds of quotes, and in invisible characters do not count.
    Latin and Greek letters count as the Cyrillic letters that they look like.
    """
    visible = clean(_IGNORABLE.sub("", text)).translate(_LUNATE_SIGMA)
    decomposed = unicodedata.normalize("NFKD", visible)
    folded = _SMALL_L.sub(lambda found: found[0].replace("l", "I"), decomposed).casefold()
    return clean(_QUOTE.sub(' " ', _DASH.sub("-", folded)).translate(_LOOK_ALIKES))


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates with U+FFFD.

    JSON and shell arguments can contain them, but responses and tables cannot.
    """
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def for_terminal(text: str, *, has_colours: bool = False) -> str:
    """Remove the control characters that a terminal would interpret; with ``has_colours``, keep colour codes."""
    return (_COMMANDS_BUT_COLOURS if has_colours else _COMMANDS).sub("", text)
