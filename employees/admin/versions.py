import re
from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _
from simple_history.admin import SimpleHistoryAdmin
from simple_history.template_utils import HistoricalRecordContextHelper
from unfold.admin import ModelAdmin

from employees.accounts import admin_scope

MAX_DELETED = 500
_ID = re.compile(r"[0-9]{1,18}")


class DisplayContextHelper(HistoricalRecordContextHelper):
    """Shows a choice by its label, a moment in local time, and None as a dash."""

    def prepare_delta_change_value(self, change: Any, value: Any) -> Any:
        choices = dict(self.model._meta.get_field(change.field).flatchoices)  # noqa: SLF001 (documented by Django)
        if isinstance(value, datetime):
            return date_format(timezone.localtime(value), "SHORT_DATETIME_FORMAT")
        return choices.get(value, "—" if value is None else value)


class VersionedAdmin(SimpleHistoryAdmin, ModelAdmin):
    object_history_list_template = "employees/versions.html"

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """Hide the versions of rows outside the user's scope: the library checks the model's permission only."""
        is_hidden = admin_scope(request) is not None and self.get_object(request, object_id) is None
        if is_hidden or not _ID.fullmatch(object_id):
            raise Http404
        return super().history_view(request, object_id, extra_context)

    def history_form_view(
        self, request: HttpRequest, object_id: str, version_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Offer no form of a version: the library lets everybody with the view permission save it."""
        raise Http404

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse what must stay, and selections too long for a page that names every row."""
        if len(objs[: MAX_DELETED + 1]) > MAX_DELETED:
            blockers = [_("Delete at most %d at once. Narrow the selection with a filter or a search.") % MAX_DELETED]
        else:
            blockers = self.deletion_blockers(objs)
        return ([], {}, set(), blockers) if blockers else super().get_deleted_objects(objs, request)

    def deletion_blockers(self, objs: Any) -> list[str]:
        """Return the reasons why rows cannot be deleted, a sentence each."""
        return []

    def get_historical_record_context_helper(self, request: HttpRequest, historical_record: Any) -> Any:
        return DisplayContextHelper(self.model, historical_record)
