"""Django's admin log, with messages that are translated for each reader and contain no personal identifiers."""

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

from config.lib.admin import ModelAdmin
from config.lib.messages import Message, parse_message, title_message, to_columns

# The key of our message in stored log rows, beside Django's own keys; it is unchanged since the first release.
_MESSAGE_KEY = "said"
_LENGTH = 200


def action_message(title: Promise, reason: str = "") -> Message:
    """Return the log message for an action and the user's reason; the reason is not translated."""
    action = title_message(title)
    return Message("%(action)s: %(reason)s", {"action": action, "reason": reason}) if reason else action


def record(request: HttpRequest, message: Message, about: Model | type[Model] | None = None) -> None:
    """Write the message to the admin log.

    ``about`` is the object (only its primary key is stored) or the model that the action concerned. The row of a
    request with an API key names the key, because the user of such a request is the key's owner.
    """
    if key := getattr(request.user, "api_key", None):
        message = Message("%(message)s (API key %(key)s)", {"message": message, "key": str(key)})
    record_of(int(request.user.pk or 0), message, about)


def record_of(user_id: int, message: Message, about: Model | type[Model] | None = None) -> None:
    """Write the message to the admin log as an action of this user, for actions without a request."""
    text, stored = to_columns(message, _LENGTH)
    LogEntry.objects.create(
        user_id=user_id,
        content_type=ContentType.objects.get_for_model(about) if about else None,
        object_id=about.pk if isinstance(about, Model) else None,
        object_repr=text,
        action_flag=CHANGE,
        change_message=json.dumps([{"changed": {"fields": [text]}, _MESSAGE_KEY: stored}], ensure_ascii=False),
    )


def message_of(row: LogEntry) -> Message | None:
    """Return the message of a row written by ``record``; None for a row written by Django."""
    if f'"{_MESSAGE_KEY}"' not in row.change_message:
        return None
    try:
        return parse_message(json.loads(row.change_message)[0][_MESSAGE_KEY])
    except (ValueError, LookupError, TypeError):
        return None


def display_change(row: LogEntry) -> str:
    """Return the row's change message in the active language; Django itself would not translate the field names."""
    if message := message_of(row):
        return str(message)
    try:
        changes = json.loads(row.change_message)
        for change in changes:
            (details,) = change.values()
            if "fields" in details:
                details["fields"] = [_field_label(field, row) for field in details["fields"]]
    except (ValueError, TypeError, AttributeError):
        return row.get_change_message()
    return LogEntry(change_message=json.dumps(changes)).get_change_message()


def _field_label(field: str, row: LogEntry) -> str:
    content_type: Any = row.content_type
    model = content_type and content_type.model_class()
    options = model._meta if model else None  # noqa: SLF001 (documented)
    fields = [*options.fields, *options.many_to_many] if options else []
    with translation.override(None):
        labels = {capfirst(str(field.verbose_name)): field.verbose_name for field in fields}
    if field in labels:
        return str(labels[field])
    # The field exists only on the form. Django capitalises its label, which may be in lower case in the catalogue.
    lower = field[:1].lower() + field[1:]
    return next((text for key in (field, lower) if (text := translation.gettext(key)) != key), field)


class AuditedAdmin(ModelAdmin):
    """Show the messages of an object's change history in the language of the user who reads it."""

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


class UntranslatedLogAdmin(AuditedAdmin):
    """Log the names of objects and fields untranslated, rather than in the language of the user who changed them."""

    def log_addition(self, *args: Any) -> Any:
        with translation.override(None):
            return super().log_addition(*args)

    def log_change(self, *args: Any) -> Any:
        with translation.override(None):
            return super().log_change(*args)

    def log_deletions(self, *args: Any) -> Any:
        with translation.override(None):
            return super().log_deletions(*args)
