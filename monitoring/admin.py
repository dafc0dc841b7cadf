"""Register the admin pages of the sub-packages, and speed up the admin's lists."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.templatetags import unfold_list

from monitoring.alerts import admin as alerts
from monitoring.audit import users
from monitoring.rollout_control import admin as rollout

__all__ = ["alerts", "rollout", "users"]
# The dashboard shows unknown values in the same way.
admin.site.empty_value_display = "—"

_build = unfold_list.result_headers


def headings(cl: ChangeList) -> list[dict[str, Any]]:
    """Return the capitalised column headings of a list page, computed once per page.

    The theme would build them again for each row, which is slow.
    """
    cached: list[dict[str, Any]] = vars(cl).setdefault("headings", [])
    if not cached:
        for heading in _build(cl):
            text = heading["text"]
            # Translate the text here: each row of the list would translate a lazy text again.
            cached.append(heading | {"text": text if isinstance(text, SafeString) else str(capfirst(text))})
    return cached


unfold_list.result_headers = headings
