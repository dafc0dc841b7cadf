"""MAX user IDs, which are always strings: a positive int64 in plain decimal, or a legacy ID."""

import re

from django.utils.translation import gettext as _

from profiles import typed_values

_LEGACY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DIGITS = re.compile(r"[0-9]+")
_LARGEST = 2**63 - 1


def _integer() -> str:
    """Return a regular expression for 1 to 2^63-1 in decimal digits, for JSON Schema."""
    digits = str(_LARGEST)
    smaller = [
        rf"{digits[:place]}[{0 if place else 1}-{int(digit) - 1}][0-9]{{{len(digits) - place - 1}}}"
        for place, digit in enumerate(digits)
        if digit != "0"
    ]
    return rf"[1-9][0-9]{{0,17}}|{'|'.join(smaller)}|{digits}"


# JSON Schema patterns: one for all valid IDs, which are an integer or a text with another character, and one for the
# IDs that ``typed`` accepts.
PATTERN = rf"^(?:{_integer()}|[0-9]*[A-Za-z_.-][A-Za-z0-9_.-]*)$"
TYPED = rf"^(?:{_integer()}|(?!(?:{typed_values.NOT_AN_ID})$)[A-Za-z0-9_.-]+)$"


def user_id_of(value: object) -> str:
    """Return the ID as a string; raise ValueError if it is invalid, as True, 0, 2^63 and 007 are."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST:
        return str(value)
    if isinstance(value, str) and _LEGACY.fullmatch(value):
        is_int64 = value[0] != "0" and len(value) <= 19
        if not _DIGITS.fullmatch(value) or (is_int64 and int(value) <= _LARGEST):
            return value
    raise ValueError(
        _(
            "Invalid MAX user ID: use a whole number from 1 to 9223372036854775807, or up to 64 characters"
            " A-Z a-z 0-9 _ . - that are not all digits."
        )
    )


def typed(text: str) -> str:
    """Return the ID that a person has entered; raise ValueError if it is invalid.

    Invisible characters, a leading apostrophe and the ``.0`` of a spreadsheet's number are removed. A text in the form
    of a legacy ID is refused if it is a date, another number, a boolean or a placeholder such as NULL.
    """
    value = typed_values.plain(text)
    typed_values.refuse_other_types(value)
    typed_values.refuse_numbers(value)
    typed_values.refuse_logical_values(value)
    if typed_values.is_no_id(value):
        raise ValueError(_("“%s” stands for a missing value. Enter the ID if there is one.") % value[:50])
    return user_id_of(value)
