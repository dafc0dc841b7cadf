"""Filters of the inbox's list; none of them has to read the table to know its choices."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter, RangeDateTimeFilter

from webhooks.models import InboxUpdate, type_for_people
from webhooks.payloads import TYPES


class TypeFilter(DropdownFilter):
    title = _("type")
    parameter_name = "update_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, type_for_people(name)) for name in TYPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[InboxUpdate]) -> QuerySet[InboxUpdate]:
        return queryset.filter(update_type=self.value()) if self.value() else queryset


class ReceivedFilter(RangeDateTimeFilter):
    """A range of time. A wrong one finds nothing: Unfold's own would find everything, and a replay would take it."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[InboxUpdate]) -> QuerySet[InboxUpdate]:
        for end, lookup, default in (("from", "gte", "00:00:00"), ("to", "lte", "23:59:59")):
            date, time = (self.used_parameters.get(f"{self.parameter_name}_{end}_{part}") for part in (0, 1))
            if not date and not time:
                continue
            try:
                moment = forms.DateTimeField().clean(f"{date} {time or default}")
            except forms.ValidationError:
                return queryset.none()
            queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": moment})
        return queryset
