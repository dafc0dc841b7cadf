from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from import_export.admin import ImportExportModelAdmin
from import_export.formats.base_formats import CSV, XLSX
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.import_export.forms import ExportForm, ImportForm

from employees import backfill
from employees.access import Scope, scope_of
from employees.forms import EmployeeForm
from employees.models import BackfillBatch, BackfillRun, Employee, MaxIdJob, Membership, RunStatus, University
from employees.models.backfill import OPEN
from employees.naming import NAMES, ask_later, note_source, rename
from employees.resources import EmployeeResource


def admin_scope(request: HttpRequest) -> Scope | None:
    """The limits of a curator or operator; None for staff whom Django's own permissions govern."""
    scope = scope_of(request.user)
    return None if scope.sees_all or scope.group is None else scope


@admin.register(University)
class UniversityAdmin(ModelAdmin):
    list_display = ("name", "inn", "kpp")
    search_fields = ("name", "inn")

    def get_queryset(self, request: HttpRequest) -> QuerySet[University]:
        scope = admin_scope(request)
        return super().get_queryset(request) if scope is None else scope.universities()


@admin.register(Employee)
class EmployeeAdmin(ModelAdmin, ImportExportModelAdmin):
    resource_classes = [EmployeeResource]
    formats = [CSV, XLSX]
    form = EmployeeForm
    readonly_fields = ("profile_source", "profile_last_updated", "max_id_updated_at")
    import_form_class = ImportForm
    export_form_class = ExportForm
    list_display = ("last_name", "first_name", "phone", "max_id", "profile_source", "university")
    list_filter = ("profile_source", "role")
    list_select_related = ("university",)
    search_fields = ("last_name", "first_name", "phone", "max_id")
    autocomplete_fields = ("university",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Employee]:
        scope = admin_scope(request)
        return super().get_queryset(request) if scope is None else scope.employees().select_related("university")

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet[Employee], bool]:
        return (queryset.matching(search_term) if search_term else queryset), False

    def save_model(self, request: HttpRequest, obj: Employee, form: EmployeeForm, change: bool) -> None:
        if change:
            rename(Employee.objects.select_for_update().get(pk=obj.pk), form.given, may_clear=True)
            return
        note_source(obj, is_named=bool(form.given.keys() & set(NAMES)))
        obj.max_id_updated_at = timezone.now() if obj.max_id else None
        super().save_model(request, obj, form, change)
        ask_later(obj)

    def has_import_permission(self, request: HttpRequest) -> bool:
        return admin_scope(request) is None and self.has_add_permission(request)


@admin.register(Membership)
class MembershipAdmin(ModelAdmin):
    list_display = ("user", "university")
    list_select_related = ("user", "university")
    autocomplete_fields = ("user", "university")


class ReadOnly(ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(MaxIdJob)
class MaxIdJobAdmin(ReadOnly):
    list_display = ("id", "status", "done", "failed", "total", "created_at", "finished_at")


class BatchInline(TabularInline):
    model = BackfillBatch
    fields = ("status", "after_id", "until_id", "rows_seen", "rows_changed", "duration_ms", "error")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackfillBatch]:
        # The prior values are large, and names: not for a list.
        batches: QuerySet[BackfillBatch] = super().get_queryset(request)
        return batches.defer("changes").exclude(status="done")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(BackfillRun)
class BackfillRunAdmin(ModelAdmin):
    """Runs are begun by adding one; the worker does the rest, and the actions steer it."""

    list_display = ("id", "status", "progress", "rows_changed", "batch_size", "paused_because", "seen_at")
    actions = ("pause", "resume", "undo")
    choices = ("university", "batch_target_ms", "pause_ms")

    def get_fields(self, request: HttpRequest, obj: BackfillRun | None = None) -> Any:
        return super().get_fields(request, obj) if obj else self.choices

    def get_inlines(self, request: HttpRequest, obj: BackfillRun | None) -> Any:
        return [BatchInline] if obj else []

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not BackfillRun.objects.filter(status__in=OPEN).exists()

    def has_change_permission(self, request: HttpRequest, obj: BackfillRun | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: BackfillRun | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: BackfillRun, form: Any, change: bool) -> None:
        obj.requested_by_id = request.user.pk
        backfill.begin(obj)

    @admin.display(description=_("progress"))
    def progress(self, run: BackfillRun) -> str:
        return f"{run.rows_seen} / {run.rows_total}"

    @admin.action(description=_("Pause"), permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[BackfillRun]) -> None:
        runs = BackfillRun.objects.filter(pk__in=queryset)
        self.message_user(request, _("%d paused") % runs.pause(f"by {request.user.get_username()}"))

    @admin.action(description=_("Resume"), permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[BackfillRun]) -> None:
        for run in queryset.filter(status=RunStatus.PAUSED):
            run.resume()
            self.message_user(request, _("%s goes on") % run)

    @admin.action(description=_("Undo"), permissions=["change"])
    def undo(self, request: HttpRequest, queryset: QuerySet[BackfillRun]) -> None:
        for run in queryset:
            run.undo()
            is_undoing = run.status == RunStatus.UNDOING
            text = _("%s: the names are given back") if is_undoing else _("%s: pause it first, or it is too old")
            self.message_user(request, text % run, messages.SUCCESS if is_undoing else messages.ERROR)
