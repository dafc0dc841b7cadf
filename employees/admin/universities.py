from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from config.paging import BoundedPaginator
from employees.admin.access import admin_scope
from employees.admin.versions import VersionedAdmin
from employees.forms import UniversityForm
from employees.models import Employee, University


@admin.register(University)
class UniversityAdmin(VersionedAdmin):
    form = UniversityForm
    list_display = ("name", "inn", "kpp")
    search_fields = ("name", "inn")
    paginator = BoundedPaginator
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[University]:
        scope = admin_scope(request)
        return super().get_queryset(request) if scope is None else scope.universities()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name the universities that have employees, and none of those: they may be fifty thousand."""
        held = University.objects.filter(
            Exists(Employee.objects.filter(university=OuterRef("pk"))), pk__in=[one.pk for one in objs]
        )
        if names := [_("%s: it has employees") % university for university in held]:
            return [], {}, set(), names
        return super().get_deleted_objects(objs, request)
