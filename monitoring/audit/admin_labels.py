"""Show flags, switches and groups by title, not by code, in the admin's headings, filters and choices."""

from django.contrib.auth.models import Group
from django.utils import translation
from waffle.models import Switch

from profiles.rollout import presenters
from profiles.rollout.models import Flag


def show_titles() -> None:
    for model in (Flag, Switch, Group):
        model.__str__ = _title  # type: ignore[method-assign, assignment]


def _title(row: Flag | Switch | Group) -> str:
    """Return the title, or the code if no language is active.

    No language is active while Django writes an entry of the admin's log. So the entry contains the code, not a
    translation.
    """
    return presenters.name_of(row.name) if translation.get_language() else row.name
