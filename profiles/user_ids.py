"""MAX user ids: strings everywhere, an int64 in plain decimal or a legacy id."""

import re

from django.utils.translation import gettext as _

_LEGACY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DIGITS = re.compile(r"[0-9]+")
_LARGEST = 2**63 - 1


def user_id_of(value: object) -> str:
    """Return the id as the stores spell it; ValueError for what is none (booleans, 0, 2^63, a leading zero …)."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST:
        return str(value)
    if isinstance(value, str) and _LEGACY.fullmatch(value) and (not _DIGITS.fullmatch(value) or _is_int64(value)):
        return value
    raise ValueError(_("a user id is an integer from 1 to 2^63-1 or up to 64 of the characters A-Z a-z 0-9 _ . -"))


def _is_int64(digits: str) -> bool:
    return digits[0] != "0" and len(digits) <= 19 and int(digits) <= _LARGEST
