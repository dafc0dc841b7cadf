"""Titles of flags, switches and groups in headings, filters and choices, where the admin would show their codes."""

from django.contrib.auth.models import Group
from django.utils import translation
from waffle.models import Switch

from profiles.rollout import presenters
from profiles.rollout.models import Flag


def show_titles() -> None:
    for model in (Flag, Switch, Group):
        model.__str__ = _title  # type: ignore[method-assign, assignment]


def _title(row: Flag | Switch | Group) -> str:
    """Return the title; without an active language the code, which Django's log stores for readers of any language."""
    return presenters.name_of(row.name) if translation.get_language() else row.name
