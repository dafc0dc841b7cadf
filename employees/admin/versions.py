from __future__ import annotations

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

from employees.admin.access import admin_scope

MOST_DELETED = 500
_ID = re.compile(r"[0-9]{1,18}")


class InWords(HistoricalRecordContextHelper):
    """Shows a choice by its words, an object by its name, a moment in local time, and nothing as a dash."""

    def prepare_delta_change_value(self, change: Any, value: Any) -> Any:
        choices = dict(self.model._meta.get_field(change.field).flatchoices)  # noqa: SLF001 (documented by Django)
        if isinstance(value, datetime):
            return date_format(timezone.localtime(value), "SHORT_DATETIME_FORMAT")
        return choices.get(value, "—" if value is None else value)


class VersionedAdmin(SimpleHistoryAdmin, ModelAdmin):
    object_history_list_template = "employees/versions.html"

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """Show no versions to those whose limits hide the row: the library asks for the model's permission only."""
        is_hidden = admin_scope(request) is not None and self.get_object(request, object_id) is None
        if is_hidden or not _ID.fullmatch(object_id):
            raise Http404
        return super().history_view(request, object_id, extra_context)

    def history_form_view(
        self, request: HttpRequest, object_id: str, version_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Offer no form of a version: the library saves what is posted to it by anybody who may view."""
        raise Http404

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse in words what must stay, and so many that the page, which names each, would be too long to be read."""
        if len(objs[: MOST_DELETED + 1]) > MOST_DELETED:
            kept = [_("At most %d at once: select fewer, by the filter or the search.") % MOST_DELETED]
        else:
            kept = self.kept(objs)
        return ([], {}, set(), kept) if kept else super().get_deleted_objects(objs, request)

    def kept(self, objs: Any) -> list[str]:
        """Return why some of them stay, a sentence each."""
        return []

    def get_historical_record_context_helper(self, request: HttpRequest, historical_record: Any) -> InWords:
        return InWords(self.model, historical_record)
