from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from config.lib.admin import ReadOnlyAdmin
from config.lib.pagination import BoundedPaginator
from employees.accounts import admin_scope
from employees.models import JobStatus, MaxIdJob, University, UnresolvedName

_STATUS_COLOURS = {
    JobStatus.PENDING: "default",
    JobStatus.RUNNING: "info",
    JobStatus.DONE: "success",
    JobStatus.FAILED: "danger",
}


@admin.register(MaxIdJob)
class MaxIdJobAdmin(ReadOnlyAdmin):
    list_display = ("id", "shown_status", "done", "failed", "total", "created_at", "finished_at")
    list_select_related = ("requested_by",)
    exclude = ("last_id",)

    @display(description=_("status"), ordering="status", label=_STATUS_COLOURS)
    def shown_status(self, job: MaxIdJob) -> tuple[str, str]:
        return job.status, job.get_status_display()


@admin.register(UnresolvedName)
class UnresolvedNameAdmin(ReadOnlyAdmin):
    list_display = ("phone", "university", "attempts", "next_try_at")
    list_select_related = ("employee__university",)
    ordering = ("next_try_at",)
    paginator = BoundedPaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[UnresolvedName]:
        rows: QuerySet[UnresolvedName] = super().get_queryset(request)
        scope = admin_scope(request)
        return rows if scope is None else rows.filter(employee__in=scope.employees().values("pk"))

    @display(description=_("phone"), ordering="employee__phone")
    def phone(self, unresolved: UnresolvedName) -> str:
        return unresolved.employee.phone

    @display(description=_("university"), ordering="employee__university")
    def university(self, unresolved: UnresolvedName) -> University:
        return unresolved.employee.university
