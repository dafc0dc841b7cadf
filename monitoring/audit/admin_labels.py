"""Rows of other packages, which speak English or by codes: wherever the admin names one, it is told in words."""

from axes.admin import AccessAttemptAdmin
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.apps import apps
from django.contrib.auth.models import Group
from django.db.models import Model
from django.utils import translation
from django.utils.translation import gettext_lazy as _
from waffle.models import Switch

from employees.models import BackfillRun
from monitoring.dashboard import presenters
from monitoring.models import Signature
from profiles.rollout.models import Flag, Scope

CODED: tuple[type[Model], ...] = (Flag, Switch, Group)
# Their texts are sentences of the language that was active, and nothing else names them.
WORDED: tuple[type[Model], ...] = (Scope, Signature, BackfillRun, AccessAttempt, AccessFailureLog, AccessLog)
_OF_ENGLISH_FIELDS = ("axes", "token_blacklist")


def use_words() -> None:
    for model in CODED:
        model.__str__ = _titled  # type: ignore[method-assign, assignment]
    for model in (AccessAttempt, AccessFailureLog, AccessLog):
        model.__str__ = _numbered
    AccessAttemptAdmin.status.short_description = _("status")
    for label in _OF_ENGLISH_FIELDS:
        for model in apps.get_app_config(label).get_models():
            _translate_fields(model)


def _titled(row: Flag | Switch | Group) -> str:
    """Return the title; without a language the code, which is what a log can keep for readers of any."""
    return presenters.name_of(row.name) if translation.get_language() else row.name


def _numbered(row: Model) -> str:
    return f"{row._meta.verbose_name} {row.pk}"  # noqa: SLF001 (documented by Django)


def _translate_fields(model: type[Model]) -> None:
    """Look up in the catalogue what Django made of a field's attribute; migrations go on seeing no name given."""
    for field in model._meta.local_fields:  # noqa: SLF001 (documented by Django)
        if isinstance(field.verbose_name, str):
            field.verbose_name = _(field.verbose_name)
