"""Clean and check phones, IDs and names as people and spreadsheets write them."""

import re
from typing import NoReturn

import regex
from django.utils.translation import gettext as _

from config.lib import text as texts

# Invisible characters such as variation selectors and joiners: part of an emoji in a name, removed from phones and IDs.
_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}")
# A cell as CSV exports write it to keep its leading zeros: ="0123", with the quotes within it doubled.
_TEXT_FORMULA = re.compile(r'="([^"]*+(?:""[^"]*+)*+)"')
_THOUSANDS = re.compile(r"[0-9]{1,3}(?: [0-9]{3})+(?:[.,][0-9]+)?")
_ZERO_DECIMALS = re.compile(r"(\+?[0-9]+)[.,]0+")
# What pandas reads as a missing value besides errors, and what databases and JavaScript write for a missing value.
_PLACEHOLDERS = {
    *("-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a"),
    *("nan", "null", "NaT", r"\N", "(null)", "<null>", "nil", "undefined", "(blank)", "(пусто)", "н/д", "Н/Д"),
}
_PLACEHOLDERS_IN_ANY_CASE = {text.casefold() for text in _PLACEHOLDERS}
_ALL_BUT_LETTERS = re.compile(r"[\W_]+")


def _letters(text: str) -> str:
    return _ALL_BUT_LETTERS.sub("", text).casefold()


_BOOLEANS = frozenset(["true", "false", "истина", "ложь"])
_LOGICAL_VALUES = _BOOLEANS | {"yes", "да"}
# What people write into a column of IDs instead of leaving it empty, without punctuation.
_WORDS_FOR_NONE = {
    *(word for word in map(_letters, _PLACEHOLDERS) if len(word) > 1 and word.isalpha()),
    *("no", "unknown", "tbd", "tba", "empty", "missing", "notavailable", "notapplicable", "notset", "notknown"),
    *("нет", "неизвестно", "неизвестен", "неизвестна", "отсутствует", "уточняется", "нету"),
}
_ENGLISH_MONTH = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?)"
)
_MONTH = (
    rf"(?:{_ENGLISH_MONTH}|янв(?:ар[ья])?|фев(?:р|рал[ья])?|март?а?|апр(?:ел[ья])?|ма[йя]|июн[ья]?|июл[ья]?"
    r"|авг(?:уста?)?|сент?(?:ябр[ья])?|окт(?:ябр[ья])?|ноя(?:б|бр[ья])?|дек(?:абр[ья])?)\.?"
)
_TIME = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?: ?[ap]m)?(?:z|[+-][0-9]{2}:?[0-9]{2})?"
_DATE = (
    rf"[0-9]{{1,4}}([./-])[0-9]{{1,2}}\1[0-9]{{1,4}}|[0-9]{{1,2}}[./ -]{_MONTH}(?:[./ -][0-9]{{2,4}})?"
    rf"|{_MONTH}[./ -](?:[0-9]{{1,2}},? )?[0-9]{{1,4}}|[0-9]{{4}} ?(?:г\.?|года?)"
)
_WEEKDAY = (
    r"(?:(?:mon|tue(?:s)?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?|понедельник|вторник|сред[ау]|четверг"
    r"|пятниц[ау]|суббот[ау]|воскресенье|пн|вт|ср|чт|пт|сб|вс)[.,]? "
)
_DATE_OR_TIME = re.compile(
    rf"(?:{_WEEKDAY})?(?:{_DATE})(?: г(?:\.|ода?)?)?(?:,?[ t](?:{_TIME}|[0-9]{{1,2}}(?: ?ч\.?)?))?|{_TIME}",
    re.IGNORECASE,
)
_DECIMAL = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?(?:e[+-]?[0-9]+)?|[+-]?(?:inf|infinity)", re.IGNORECASE)
# Digits with any characters but letters and emoji, such as 5.551.009, 50%, 1/2 and −5.
_NUMBER = regex.compile(
    r"(?V1)[^\p{L}\p{Extended_Pictographic}0-9]*+[0-9][^\p{L}\p{Extended_Pictographic}]*+(?:e[+-]?[0-9]+)?"
    r"|[+-]?(?:inf|infinity)",
    regex.IGNORECASE,
)
_DIGIT = re.compile("[0-9]")
_ERROR = re.compile(r"#.*|(?:err|ошибка):[0-9]+", re.IGNORECASE)


def _not_an_id() -> str:
    """Return a pattern for strings that only look like an ID: dates, numbers and placeholders.

    It matches upper and lower case without a flag for that, because patterns in JSON Schema have no flags.
    """
    words = sorted(word for word in _PLACEHOLDERS_IN_ANY_CASE if re.fullmatch("[a-z0-9_.-]*[0-9][a-z0-9_.-]*", word))
    between = "[._-]*"
    letters = sorted(filter(str.isascii, _WORDS_FOR_NONE | _LOGICAL_VALUES))
    words += [f"{between}{between.join(word)}{between}" for word in letters]
    date = rf"[0-9]{{1,2}}[.-]{_ENGLISH_MONTH}\.?(?:[.-][0-9]{{2,4}})?|{_ENGLISH_MONTH}\.?[.-][0-9]{{1,4}}"
    in_lower_case = (
        rf"{'|'.join(words)}|-?inf(?:inity)?|[0-9_.-]*(?:[0-9][0-9_.-]*(?:e-?[0-9]+)?)?"
        rf"|(?:{date}|[0-9]{{1,4}}([.-])[0-9]{{1,2}}\1[0-9]{{1,4}})(?:t[0-9]{{1,2}})?"
    )
    return re.sub("[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", in_lower_case)


NOT_AN_ID = _not_an_id()


def visible(text: str) -> str:
    """Remove invisible characters and surrounding white space from a phone, an ID or a heading.

    The text is also cleaned (config.lib.text), so that it is in NFC and on one line.
    """
    return texts.clean(_IGNORABLE.sub("", text))


def bare(text: str) -> str:
    """Apply ``visible``; remove an apostrophe or a formula (``="0123"``) that marks a spreadsheet's cell as text."""
    return without_formula(visible(text)).removeprefix("'").strip()


def without_formula(text: str) -> str:
    """Return the text that a formula such as ``="0123"`` shows; return any other text unchanged."""
    formula = _TEXT_FORMULA.fullmatch(text)
    return formula[1].replace('""', '"').strip() if formula else text


def plain(text: str) -> str:
    """Apply ``bare``, and remove the thousands separators and the ``.0`` of a number.

    A line break is no thousands separator: it separates two numbers.
    """
    has_lines, text = has_digits_on_several_lines(text), bare(text)
    if not has_lines and _THOUSANDS.fullmatch(text):
        text = text.replace(" ", "")
    number = _ZERO_DECIMALS.fullmatch(text)
    return number[1] if number else text


def has_digits_on_several_lines(text: str) -> bool:
    return sum(_DIGIT.search(line) is not None for line in text.splitlines()) > 1


def is_placeholder(text: str, *, in_any_case: bool = True) -> bool:
    """Return whether the text stands for a missing value, such as NULL.

    If ``in_any_case`` is False, only spellings that programs use count, because “Null” may be a name.
    """
    return text.casefold() in _PLACEHOLDERS_IN_ANY_CASE if in_any_case else text in _PLACEHOLDERS


def is_no_id(text: str) -> bool:
    """Return whether a text in a field for an ID stands for a missing ID, such as NULL, n.a. or -unknown-."""
    return not any(map(str.isalnum, text)) or is_placeholder(text) or _letters(text) in _WORDS_FOR_NONE


def is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def refuse_other_types(text: str) -> None:
    """Raise ValueError for a spreadsheet's error, a boolean, a date, or a number that is not a plain integer."""
    if _ERROR.fullmatch(text):
        raise ValueError(_("“%s” is a spreadsheet error. Repair the formula, or clear the cell.") % text[:50])
    if text.casefold() in _BOOLEANS:
        _refuse_logical_value(text)
    if _DATE_OR_TIME.fullmatch(text):
        raise ValueError(_("“%s” is a date or time. Format the column as text and enter the value again.") % text)
    if _DECIMAL.fullmatch(text):
        refuse_numbers(text)


def refuse_logical_values(text: str) -> None:
    """Raise ValueError if the text in a field for an ID is “yes”, “да” or a boolean, even with punctuation."""
    if _letters(text) in _LOGICAL_VALUES:
        _refuse_logical_value(text)


def _refuse_logical_value(text: str) -> NoReturn:
    raise ValueError(_("“%s” is a logical value. Enter the intended value, or clear the cell.") % text[:50])


def refuse_numbers(text: str) -> None:
    """Raise ValueError for a number that is not a plain integer, in any notation."""
    if is_number(text) and not text.removeprefix("+").isdecimal():
        message = _("“%s” is a number that may have lost digits. Format the column as text and enter the value again.")
        raise ValueError(message % text[:50])
