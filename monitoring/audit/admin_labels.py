"""What the admin calls the rows of our flags, switches and groups: their titles, where their own text is a code."""

from django.contrib.auth.models import Group
from django.db.models import Model
from django.utils import translation
from waffle.models import Switch

from employees.models import BackfillRun
from monitoring.rollout_control.models import Signature
from profiles.rollout import presenters
from profiles.rollout.models import Flag, UniversityRule

CODED: tuple[type[Model], ...] = (Flag, Switch, Group)
# Their texts are sentences of the language that was active, and nothing else names them.
WORDED: tuple[type[Model], ...] = (UniversityRule, Signature, BackfillRun)


def use_words() -> None:
    for model in CODED:
        model.__str__ = _title  # type: ignore[method-assign, assignment]


def _title(row: Flag | Switch | Group) -> str:
    """Return the title; without a language the code, which is what a log can keep for readers of any."""
    return presenters.name_of(row.name) if translation.get_language() else row.name
