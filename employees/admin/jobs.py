from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from config.read_only import ReadOnlyAdmin
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
class MaxIdJobAdmin(ReadOnlyAdmin):
    list_display = ("id", "shown_status", "done", "failed", "total", "created_at", "finished_at")
    list_select_related = ("requested_by",)

    @display(description=_("status"), ordering="status", label=_STATUS_COLOURS)
    def shown_status(self, job: MaxIdJob) -> tuple[str, str]:
        return job.status, job.get_status_display()
