"""Read cells as the author of the file meant them, and write cells that an import reads as the same values."""

import re

import regex
from django.utils.translation import gettext as _

from config.lib import text as texts
from employees.import_export.encodings import has_swapped_case, is_garbled
from employees.import_export.workbook import Cell
from profiles import phones, typed_values

# The longest cell that is read, in characters: a longer one is no name, and cleaning it would take long.
LONGEST = 1_000
# Spreadsheets run cells that begin with these characters as formulas; a leading apostrophe makes the cell text.
_FORMULA = re.compile(r"[=+\-@\s]")
_PHONE = re.compile(r"\+[0-9]{8,15}")
# Apostrophes before a capital or a letter that is not Latin, unless a later apostrophe closes a quotation.
_MARKED_NAME = regex.compile(r"(?V1)'+[\p{Lu}\p{Lt}[\p{L}--\p{Latin}]](?!.*'(?!\p{L}))")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def read_phone(cell: Cell) -> str:
    if isinstance(cell, str) and not texts.is_visible(cell):
        raise ValueError(_("The phone is missing."))
    try:
        return phones.normalize(_checked(cell))
    except ValueError:
        # For a date, a truth value or a spreadsheet's error, this raises an error that explains more.
        typed_values.refuse_other_types(typed_values.plain(_checked(cell)))
        raise


def read_id(cell: Cell) -> str:
    """Return the ID; ``""`` for a word that means “no ID”, such as NULL. Raise ValueError as ``read_code`` does."""
    value = read_code(cell)
    typed_values.refuse_logical_values(value)
    return "" if typed_values.is_no_id(value) else value


def read_code(cell: Cell) -> str:
    """Return the code in a cell; ``""`` for a placeholder such as NULL. Raise ValueError for a date or another type."""
    value = typed_values.plain(_checked(cell))
    typed_values.refuse_other_types(value)
    typed_values.refuse_numbers(value)
    return "" if typed_values.is_placeholder(value) or not any(map(str.isalnum, value)) else value


def read_text(cell: Cell) -> str:
    """Return the text of a name; ``""`` for a placeholder such as NULL.

    Raise ValueError for a number, a date or another type. A leading apostrophe marks a number or a placeholder as text,
    because somebody's name may be 42 or Null. The apostrophe is removed, unless it is a part of the name, as in ``'t
    Hooft`` and ``'Север' (вуз)``.
    """
    text = typed_values.without_formula(texts.clean(_checked(cell)))
    return text[1:].strip() if _is_marked(text) else _read_unmarked(text)


def _read_unmarked(text: str) -> str:
    if is_garbled(text):
        message = _(
            "“%(text)s” seems to be garbled: another program may have read it in the wrong encoding. Export the file"
            " again from the original program. If the text is correct, put an apostrophe before it: '%(text)s (in"
            " Excel, two apostrophes)."
        )
        raise ValueError(message % {"text": text[:50]})
    if has_swapped_case(text):
        message = _(
            "Capital and small letters in “%(text)s” seem to be swapped, because of a wrong encoding or Caps Lock."
            " Correct the text; if it is correct, put an apostrophe before it: '%(text)s (in Excel, two apostrophes)."
        )
        raise ValueError(message % {"text": text[:50]})
    if typed_values.is_placeholder(text, in_any_case=False):
        return ""
    typed_values.refuse_other_types(text)
    if typed_values.is_number(text):
        message = _(
            "“%(text)s” is a number. Enter the intended text, or clear the cell. If it is a name, put an apostrophe"
            " before it: '%(text)s (in Excel, two apostrophes)."
        )
        raise ValueError(message % {"text": text[:50]})
    if typed_values.is_placeholder(text):
        message = _(
            "“%(text)s” usually stands for an empty cell. If it does here, clear the cell. If it is a name, put an"
            " apostrophe before it: '%(text)s (in Excel, two apostrophes)."
        )
        raise ValueError(message % {"text": text})
    return text


def write(value: str, *, is_text: bool) -> str:
    """Return the content of a cell that no spreadsheet runs as a formula, and that an import reads as ``value``.

    ``is_text`` is whether the column holds names, which read_text reads.
    """
    text = _NOT_XML.sub("", value)
    is_special = (
        _is_marked(text) or _is_special(text) if is_text else _FORMULA.match(text) and not _PHONE.fullmatch(text)
    )
    return f"'{text}" if is_special else text


def _is_marked(text: str) -> bool:
    """Return whether a leading apostrophe only marks the cell as text; False if it is a part of the text."""
    return text.startswith("'") and (_MARKED_NAME.match(text) is not None or _is_special(text.lstrip("'")))


def _is_special(text: str) -> bool:
    """Return whether a spreadsheet would run the text as a formula, or an import would read it as another value."""
    try:
        return bool(_FORMULA.match(text)) or _read_unmarked(text) != text
    except ValueError:
        return True


def _checked(cell: Cell) -> str:
    if isinstance(cell, ValueError):
        raise cell
    if len(cell) > LONGEST:
        raise ValueError(_("The cell has more than %d characters.") % LONGEST)
    return cell
