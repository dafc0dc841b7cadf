"""Django's log of the admin, told in the language of whoever reads it and without ids of people."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import translation
from django.utils.functional import Promise
from django.utils.text import capfirst
from unfold.admin import ModelAdmin

from config.lib.messages import Message, parse_message, to_columns

_MESSAGE_KEY = "said"
_LENGTH = 200
_ACTION_WITH_REASON = "%(deed)s: %(reason)s"


def action_message(title: Promise, reason: str = "") -> Message:
    """Return the sentence of something done for a reason, which stays in its operator's words."""
    with translation.override(None):
        name = Message(str(title))
    return Message(_ACTION_WITH_REASON, {"deed": name, "reason": reason}) if reason else name


def record(request: HttpRequest, message: Message, about: Model | type[Model] | None = None) -> None:
    """Leave a row about an object, by its number alone, a table or neither; the release before reads the text."""
    text, kept = to_columns(message, _LENGTH)
    LogEntry.objects.create(
        user_id=int(request.user.pk or 0),
        content_type=ContentType.objects.get_for_model(about) if about else None,
        object_id=about.pk if isinstance(about, Model) else None,
        object_repr=text,
        action_flag=CHANGE,
        change_message=json.dumps([{"changed": {"fields": [text]}, _MESSAGE_KEY: kept}], ensure_ascii=False),
    )


def message_of(row: LogEntry) -> Message | None:
    """Return what was recorded as a sentence; None for rows that are Django's own, or of a release before."""
    if f'"{_MESSAGE_KEY}"' not in row.change_message:
        return None
    try:
        return parse_message(json.loads(row.change_message)[0][_MESSAGE_KEY])
    except (ValueError, LookupError, TypeError):
        # Somebody's own words, which happen to hold ours.
        return None


def display_change(row: LogEntry) -> str:
    """Return what a row tells, in the reader's language: Django keeps the English labels of the fields of a form."""
    if message := message_of(row):
        return str(message)
    try:
        changes = json.loads(row.change_message)
        for change in changes:
            (said_of,) = change.values()
            if "fields" in said_of:
                said_of["fields"] = [_label(field, row) for field in said_of["fields"]]
    except (ValueError, TypeError, AttributeError):
        # A plain text, of a release before or of somebody's own.
        return row.get_change_message()
    return LogEntry(change_message=json.dumps(changes)).get_change_message()


def _label(field: str, row: LogEntry) -> str:
    about: Any = row.content_type
    model = about and about.model_class()
    options = model._meta if model else None  # noqa: SLF001 (documented)
    fields = [*options.fields, *options.many_to_many] if options else []
    with translation.override(None):
        names = {capfirst(str(one.verbose_name)): one.verbose_name for one in fields}
    if field in names:
        return str(names[field])
    translated, lower = translation.gettext(field), field[:1].lower() + field[1:]
    found = translation.gettext(lower)
    return found if translated == field and found != lower else translated


class AuditedAdmin(ModelAdmin):
    """Shows in an object's history what was recorded of it, in the reader's language."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response: HttpResponse = super().history_view(request, object_id, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            rows = response.context_data["action_list"]
            rows.object_list = list(rows.object_list)
            for row in rows.object_list:
                row.change_message = display_change(row)
        return response


class LoggedByCode(AuditedAdmin):
    """Has Django's log keep a row's code, and no words in the language of whoever changed it."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        with translation.override(None):
            row: LogEntry = super().log_addition(request, obj, message)
        return row

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        with translation.override(None):
            row: LogEntry = super().log_change(request, obj, message)
        return row

    def log_deletions(self, request: HttpRequest, queryset: Any) -> list[LogEntry]:
        with translation.override(None):
            rows: list[LogEntry] = super().log_deletions(request, queryset)
        return rows
