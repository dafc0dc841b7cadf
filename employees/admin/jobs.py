from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from employees.models import JobStatus, MaxIdJob, Membership

_STATUS_COLOURS = {
    JobStatus.PENDING: "default",
    JobStatus.RUNNING: "info",
    JobStatus.DONE: "success",
    JobStatus.FAILED: "danger",
}


@admin.register(Membership)
class MembershipAdmin(ModelAdmin):
    list_display = ("user", "university")
    list_select_related = ("user", "university")
    autocomplete_fields = ("user", "university")


@admin.register(MaxIdJob)
class MaxIdJobAdmin(ModelAdmin):
    list_display = ("id", "shown_status", "done", "failed", "total", "created_at", "finished_at")
    list_select_related = ("requested_by",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(
        description=_("status"),
        ordering="status",
        label=_STATUS_COLOURS,
    )
    def shown_status(self, job: MaxIdJob) -> tuple[str, str]:
        return job.status, job.get_status_display()
