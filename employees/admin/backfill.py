from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from config.lib import audit_log
from config.lib.audit_log import AuditedAdmin
from employees.admin.access import admin_scope
from employees.admin.backfill_actions import ACTIONS, Deed
from employees.backfill import batches
from employees.models import BackfillBatch, BackfillRun, BatchStatus, RunStatus
from employees.models.backfill import OPEN
from profiles import failures

_STATUS_COLOURS = {
    RunStatus.RUNNING: "info",
    RunStatus.PAUSED: "warning",
    RunStatus.DONE: "success",
    RunStatus.UNDOING: "warning",
    RunStatus.UNDONE: "default",
}
_TONES = {RunStatus.DONE: "good", RunStatus.PAUSED: "wait", RunStatus.UNDOING: "wait"}


class ReasonForm(forms.Form):
    reason = forms.CharField(label=gettext_lazy("reason"), max_length=150, widget=UnfoldAdminTextInputWidget)


class BatchInline(TabularInline):
    model = BackfillBatch
    verbose_name_plural = gettext_lazy("batches that are not done")
    fields = ("status", "after_id", "until_id", "rows_seen", "rows_changed", "duration_ms", "shown_error")
    readonly_fields = fields
    extra = 0
    can_delete = False
    hide_title = True
    per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackfillBatch]:
        # The prior values are large, and names: not for a list.
        batches: QuerySet[BackfillBatch] = super().get_queryset(request)
        return batches.defer("changes").exclude(status="done")

    @admin.display(description=gettext_lazy("error"))
    def shown_error(self, batch: BackfillBatch) -> str:
        return format_html("<code>{}</code>", batch.error) if batch.error else "—"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(BackfillRun)
class BackfillRunAdmin(AuditedAdmin):
    """Runs are begun by adding one; the worker does the rest, and the deeds steer it."""

    list_display = (
        "id",
        "shown_status",
        "university",
        "replaces_names",
        "progress",
        "rows_changed",
        "shown_pause",
        "seen_at",
    )
    list_select_related = ("university",)
    choices = ("university", "replaces_names", "batch_target_ms", "pause_ms")
    autocomplete_fields = ("university",)
    change_form_template = "employees/backfill.html"
    fields = (*choices, "requested_by", "created_at", "finished_at")
    readonly_fields = ("requested_by", "created_at", "finished_at")
    actions = None

    def get_fields(self, request: HttpRequest, obj: BackfillRun | None = None) -> Any:
        return self.fields if obj else self.choices

    def get_inlines(self, request: HttpRequest, obj: BackfillRun | None) -> Any:
        return [BatchInline] if obj else []

    def get_urls(self) -> list[Any]:
        own = [
            path("<int:pk>/progress/", self.admin_site.admin_view(self.live), name="employees_backfillrun_live"),
            path("<int:pk>/do/<str:deed>/", self.admin_site.admin_view(self.do), name="employees_backfillrun_do"),
        ]
        return [*own, *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not BackfillRun.objects.filter(status__in=OPEN).exists()

    def has_change_permission(self, request: HttpRequest, obj: BackfillRun | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: BackfillRun | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackfillRun]:
        """Return the runs over the universities that the user looks after; every view of a run finds it here."""
        runs: QuerySet[BackfillRun] = super().get_queryset(request)
        scope = admin_scope(request)
        return runs if scope is None else runs.filter(university__in=scope.universities())

    def get_form(
        self, request: HttpRequest, obj: BackfillRun | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Have those whom one university is left begin runs over that one: an empty choice is all of them."""
        form = super().get_form(request, obj, change, **kwargs)
        scope = admin_scope(request)
        if scope is not None and (field := form.base_fields.get("university")):
            field.queryset, field.required, field.help_text = scope.universities(), True, ""
        return form

    def save_model(self, request: HttpRequest, obj: BackfillRun, form: Any, change: bool) -> None:
        obj.requested_by_id = request.user.pk
        batches.begin(obj)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Offer no second run: while the first is open there may be none, and whoever asks for one is told so."""
        if super().has_add_permission(request) and not self.has_add_permission(request):
            return self._busy(request)
        extra = {"show_save_and_add_another": False, "show_save_and_continue": False} | (extra_context or {})
        response: HttpResponse = super().add_view(request, form_url, extra)
        return response

    def _busy(self, request: HttpRequest) -> HttpResponse:
        """Lead to the open run, or to the list where its university hides it."""
        told = _("One backfill at a time: another one is not over yet. Begin yours when it is done or undone.")
        messages.error(request, told)
        run = self.get_queryset(request).filter(status__in=OPEN).first()
        name, ids = ("change", [run.pk]) if run else ("changelist", [])
        return HttpResponseRedirect(reverse(f"admin:employees_backfillrun_{name}", args=ids))

    def response_add(
        self, request: HttpRequest, obj: BackfillRun, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Go where the run is watched, whatever button was pressed."""
        messages.success(request, _("Backfill %d has begun.") % obj.pk)
        return HttpResponseRedirect(reverse("admin:employees_backfillrun_change", args=[obj.pk]))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        run = self.get_object(request, object_id)
        extra = (self._seen(request, run) if run else {}) | (extra_context or {})
        response: HttpResponse = super().change_view(request, object_id, form_url, extra)
        return response

    def live(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The part of the page that shows where the run stands; it asks for itself again while the run moves."""
        run = self.get_object(request, str(pk))
        if run is None or not self.has_view_permission(request, run):
            raise Http404
        return TemplateResponse(request, "employees/backfill_progress.html", self._seen(request, run))

    def do(self, request: HttpRequest, pk: int, deed: str) -> HttpResponse:
        run = self.get_object(request, str(pk))
        chosen = ACTIONS.get(deed)
        if run is None or chosen is None:
            raise Http404
        if not self._may(request, chosen):
            raise PermissionDenied
        page = reverse("admin:employees_backfillrun_change", args=[run.pk])
        if run.status not in chosen.statuses:
            messages.error(request, _("The backfill is in another state now: %s.") % run.get_status_display())
            return HttpResponseRedirect(page)
        form = ReasonForm(request.POST or None)
        if form.is_valid():
            self._act(request, run, chosen, form.cleaned_data["reason"])
            return HttpResponseRedirect(page)
        context = self.admin_site.each_context(request) | {
            "title": f"{chosen.title} · {self.opts.verbose_name} {run.pk}",
            "opts": self.opts,
            "form": form,
            "deed": chosen,
            "page": page,
            "is_dangerous": deed == "undo",
            "run": run,
        }
        return TemplateResponse(request, "employees/backfill_confirm.html", context)

    def _act(self, request: HttpRequest, run: BackfillRun, deed: Deed, reason: str) -> None:
        try:
            text = deed.act(run, reason)
        except DatabaseError as error:
            messages.error(request, _("It failed again: %s") % failures.message_for(type(error).__name__))
            return
        audit_log.record(request, audit_log.action_message(deed.title, reason), run)
        messages.success(request, text)

    def _may(self, request: HttpRequest, deed: Deed) -> bool:
        return bool(request.user.has_perm(deed.permission) and self.has_view_permission(request))

    def _seen(self, request: HttpRequest, run: BackfillRun) -> dict[str, Any]:
        failed = run.batches.filter(status=BatchStatus.FAILED).count()
        possible = {
            name: deed
            for name, deed in ACTIONS.items()
            if run.status in deed.statuses and self._may(request, deed) and (name != "retry" or failed)
        }
        return {
            "run": run,
            "failed": failed,
            "percent": _percent(run),
            "is_moving": run.status in (RunStatus.RUNNING, RunStatus.UNDOING),
            "tone": _TONES.get(RunStatus(run.status), "info"),
            "deeds": [
                (reverse("admin:employees_backfillrun_do", args=[run.pk, name]), name, deed.title)
                for name, deed in possible.items()
            ],
        }

    @display(description=gettext_lazy("status"), ordering="status", label=_STATUS_COLOURS)
    def shown_status(self, run: BackfillRun) -> tuple[str, str]:
        return run.status, run.get_status_display()

    @display(description=gettext_lazy("paused because"))
    def shown_pause(self, run: BackfillRun) -> str:
        return run.pause_reason

    @display(description=gettext_lazy("progress"))
    def progress(self, run: BackfillRun) -> str:
        return format_html(
            '<span class="s-bar" aria-hidden="true"><i style="width: {}%"></i></span> {} / {}',
            _percent(run),
            run.rows_seen,
            run.rows_total,
        )


def _percent(run: BackfillRun) -> int:
    """Return how much is done, of an undo how much is given back; rows that came since do not make it more than all."""
    if run.status in (RunStatus.DONE, RunStatus.UNDONE):
        return 100
    if run.status == RunStatus.UNDOING:
        batches = run.batches.exclude(status=BatchStatus.FAILED)
        return 100 * batches.filter(status=BatchStatus.UNDONE).count() // max(batches.count(), 1)
    return min(100, 100 * run.rows_seen // max(run.rows_total, 1))
