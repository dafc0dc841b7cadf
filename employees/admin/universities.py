from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from config.lib.pagination import BoundedPaginator
from employees.admin.access import admin_scope
from employees.admin.forms import UniversityForm
from employees.admin.versions import VersionedAdmin
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

    def has_add_permission(self, request: HttpRequest) -> bool:
        return admin_scope(request) is None and bool(super().has_add_permission(request))

    def has_change_permission(self, request: HttpRequest, obj: University | None = None) -> bool:
        """Leave the universities to whoever looks after all of them, as the API does; others see their own."""
        return admin_scope(request) is None and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: University | None = None) -> bool:
        return admin_scope(request) is None and bool(super().has_delete_permission(request, obj))

    def kept(self, objs: Any) -> list[str]:
        """Name the universities that have employees, and none of those: they may be fifty thousand."""
        held = University.objects.filter(
            Exists(Employee.objects.filter(university=OuterRef("pk"))), pk__in=[one.pk for one in objs]
        )
        return [_("%s: it has employees") % university for university in held]
