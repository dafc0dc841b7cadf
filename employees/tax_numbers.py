"""INN and KPP, as the API, the import and the admin take them: digits, or nothing."""

import re

from django.utils.translation import gettext as _

INN, KPP = r"^([0-9]{10}|[0-9]{12})$", r"^[0-9]{9}$"


def inn_of(text: str) -> str:
    """Return the INN as it is; ValueError for what is neither one nor empty."""
    if text and not re.fullmatch(INN, text):
        raise ValueError(_("an INN has 10 or 12 digits, not “%s”") % text)
    return text


def kpp_of(text: str) -> str:
    """Return the KPP as it is; ValueError for what is neither one nor empty."""
    if text and not re.fullmatch(KPP, text):
        raise ValueError(_("a KPP has 9 digits, not “%s”") % text)
    return text
