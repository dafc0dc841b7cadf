from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from config.lib import audit_log
from config.lib.admin import ReadOnlyAdmin, ScopedAdmin
from config.lib.audit_log import AuditedAdmin
from config.postgres.base import CommitNotConfirmed, CommitUnanswered
from config.postgres.locks import confirmed_together
from employees.accounts import admin_scope
from employees.backfill import batches
from employees.backfill.candidates import DecisionContext
from employees.models import OPEN, BackfillBatch, BackfillRun, BatchStatus, RunStatus, University
from profiles import failures
from profiles.rollout.rules import ChangeRefused

EXAMPLES_SHOWN = 10
# A bigint has at most 19 digits, so a longer number is no id.
_ID_DIGITS = 19
_STATUS_COLOURS = {
    RunStatus.RUNNING: "info",
    RunStatus.PAUSED: "warning",
    RunStatus.DONE: "success",
    RunStatus.UNDOING: "warning",
    RunStatus.UNDONE: "default",
}
_TONES = {RunStatus.DONE: "good", RunStatus.PAUSED: "wait", RunStatus.UNDOING: "wait"}


@dataclass(frozen=True, slots=True)
class BackfillAction:
    """A button on a run's page, shown if the run has one of the ``statuses`` and the user has the ``permission``."""

    title: Promise
    warning: Promise
    statuses: list[RunStatus]
    permission: str = "employees.change_backfillrun"


ACTIONS = {
    "pause": BackfillAction(
        gettext_lazy("Pause"),
        gettext_lazy("The backfill will stop before its next batch. You can resume it later."),
        [RunStatus.RUNNING],
    ),
    "resume": BackfillAction(
        gettext_lazy("Resume"), gettext_lazy("The backfill will continue where it stopped."), [RunStatus.PAUSED]
    ),
    "retry": BackfillAction(
        gettext_lazy("Retry failed batches"),
        gettext_lazy("The failed batches will be run again."),
        [RunStatus.PAUSED, RunStatus.DONE],
    ),
    "undo": BackfillAction(
        gettext_lazy("Restore previous names"),
        gettext_lazy(
            "Employees renamed by this backfill will get their previous names back, except those whose records have"
            " been changed since."
        ),
        [RunStatus.PAUSED, RunStatus.DONE],
        "employees.delete_backfillrun",
    ),
}


_DONE: dict[str, Promise] = {
    "pause": gettext_lazy("Backfill %d paused."),
    "resume": gettext_lazy("Backfill %d resumed."),
    "undo": gettext_lazy("Backfill %d is restoring the previous names."),
}


def _perform(name: str, run: BackfillRun, reason: str) -> str:
    """Perform the action with this name in ACTIONS; return the message for the user."""
    if name == "retry":
        return _("Failed batches retried: %d.") % batches.retry_failed(run)
    batches.act(name, run, reason)
    return str(_DONE[name]) % run.pk


def _act(request: HttpRequest, name: str, run: BackfillRun, reason: str) -> None:
    """Perform an action, log it, and show its outcome."""
    try:
        with confirmed_together():
            text = _perform(name, run, reason)
            audit_log.record(request, audit_log.action_message(ACTIONS[name].title, reason), run)
    except (CommitNotConfirmed, CommitUnanswered):
        raise
    except ChangeRefused as refused:
        messages.error(request, str(refused))
    except DatabaseError as error:
        messages.error(request, _("The action failed: %s") % failures.message_for(type(error).__name__))
    else:
        messages.success(request, text)


class StartForm(forms.ModelForm):  # type: ignore[type-arg]
    """Start a run under the same conditions as a rollout step: with a reason, and not while the rollout is paused.

    If a preview was shown, the submitted choices must be the same as in the preview.
    """

    class Meta:
        model = BackfillRun
        fields = ("university", "replaces_names", "batch_target_ms", "pause_ms", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The model allows runs without a reason, which earlier releases started. The page of a run has no fields.
        if "reason" in self.fields:
            self.fields["reason"].required = True

    def clean_reason(self) -> str:
        return batches.check_reason(self.cleaned_data["reason"])

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        batches.refuse_while_held()
        previewed, university = self.data.get("previewed"), cleaned.get("university")
        if previewed is not None and previewed != _choices(university, replaces_names=cleaned["replaces_names"]):
            raise forms.ValidationError(_("The choices have changed since the preview: check the new preview first."))
        return cleaned


def _choices(university: University | None, *, replaces_names: bool) -> str:
    return f"{university.pk if university else ''}:{replaces_names}"


class ReasonForm(forms.Form):
    reason = forms.CharField(label=gettext_lazy("reason"), max_length=150, widget=UnfoldAdminTextInputWidget)


class BatchInline(TabularInline):
    model = BackfillBatch
    verbose_name_plural = gettext_lazy("unfinished batches")
    fields = ("status", "after_id", "until_id", "rows_seen", "rows_changed", "duration_ms", "error")
    readonly_fields = fields
    max_num = 0
    can_delete = False
    hide_title = True
    per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackfillBatch]:
        # Do not load ``changes``: the previous values in it are large and contain names.
        batches: QuerySet[BackfillBatch] = super().get_queryset(request)
        return batches.defer("changes").exclude(status="done")


@admin.register(BackfillRun)
class BackfillRunAdmin(AuditedAdmin, ScopedAdmin, ReadOnlyAdmin):
    """Start runs, and control them with the buttons in ACTIONS; the task worker executes them."""

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
    form = StartForm
    add_fields = StartForm.Meta.fields
    add_form_template = "employees/backfill_start.html"
    change_form_template = "employees/backfill.html"
    fields = (*add_fields, "started_by", "created_at", "finished_at")
    readonly_fields = ("started_by", "created_at", "finished_at")
    actions = None
    university_path = "university"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj else self.add_fields

    def get_inlines(self, request: HttpRequest, obj: BackfillRun | None) -> Any:
        return [BatchInline] if obj else []

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("add/preview/", view(self.preview_view), name="employees_backfillrun_preview"),
            path("<int:pk>/progress/", view(self.progress_view), name="employees_backfillrun_progress"),
            path("<int:pk>/do/<str:name>/", view(self.action_view), name="employees_backfillrun_do"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return _may_start(request) and not BackfillRun.objects.filter(status__in=OPEN).exists()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Offer users with a membership only their university, and require them to choose it.

        An empty field would mean all universities.
        """
        form = super().get_form(request, obj, change, **kwargs)
        scope = admin_scope(request)
        if scope is not None and (field := form.base_fields.get("university")):
            field.required, field.help_text = True, ""
            field.queryset = scope.universities()
        return form

    def save_model(self, request: HttpRequest, obj: BackfillRun, form: Any, change: bool) -> None:
        obj.requested_by_id, obj.started_by = request.user.pk, request.user.get_username()[:150]
        batches.begin(obj)

    def log_addition(self, *args: Any) -> None:
        """Write no log entry: the audit log already lists each run with its reason, however it was started."""

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """While a run is open, redirect to it, or to the list if the user may not see it; otherwise, show the form."""
        if _may_start(request) and not self.has_add_permission(request):
            text = _(
                "Only one backfill can be open at a time. Let the current one finish, or pause it and choose “Restore"
                " previous names”."
            )
            messages.error(request, text)
            run = self.get_queryset(request).filter(status__in=OPEN).first()
            page, ids = ("change", [run.pk]) if run else ("changelist", [])
            return HttpResponseRedirect(reverse(f"admin:employees_backfillrun_{page}", args=ids))
        buttons = {"show_save_and_add_another": False, "show_save_and_continue": False}
        response: HttpResponse = super().add_view(request, extra_context=buttons)
        return response

    def response_add(self, request: HttpRequest, obj: BackfillRun, *args: Any) -> HttpResponse:
        """Redirect to the run's page, whichever button was pressed."""
        messages.success(request, _("Backfill %d started.") % obj.pk)
        return HttpResponseRedirect(reverse("admin:employees_backfillrun_change", args=[obj.pk]))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        run = self.get_object(request, object_id)
        context = self._progress_context(request, run) if run else None
        response: HttpResponse = super().change_view(request, object_id, extra_context=context)
        return response

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """Return the HTML fragment that previews a run with the choices in the query; the start page loads it."""
        if not _may_start(request):
            raise PermissionDenied
        pk, limits = request.GET.get("university", ""), admin_scope(request)
        known = limits.universities() if limits else University.objects.all()
        university = known.filter(pk=pk).first() if pk.isdecimal() and len(pk) < _ID_DIGITS else None
        context: dict[str, Any] = {}
        if university or (not pk and not limits):
            replaces_names = "replaces_names" in request.GET
            obstacle = DecisionContext.read().obstacle
            context = {
                "preview": batches.preview_names(university, replaces_names=replaces_names, limit=EXAMPLES_SHOWN),
                "choices": _choices(university, replaces_names=replaces_names),
                "refusal": f"{obstacle.label}." if obstacle else "",
            }
            try:
                batches.refuse_while_held()
            except ChangeRefused as refused:
                context["refusal"] = str(refused)
        return TemplateResponse(request, "employees/backfill_preview.html", context)

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Return the HTML fragment of the progress card, which reloads itself while the run is in progress."""
        run = self.get_object(request, str(pk))
        if run is None or not self.has_view_permission(request, run):
            raise Http404
        return TemplateResponse(request, "employees/backfill_progress.html", self._progress_context(request, run))

    def action_view(self, request: HttpRequest, pk: int, name: str) -> HttpResponse:
        """Show a form for confirmation and a reason; once it is submitted, perform the action and log it."""
        run = self.get_object(request, str(pk))
        action = ACTIONS.get(name)
        if run is None or action is None:
            raise Http404
        if not self._is_permitted(request, action):
            raise PermissionDenied
        page = reverse("admin:employees_backfillrun_change", args=[run.pk])
        if run.status not in action.statuses:
            text = _("This is no longer possible. The backfill's status: %s.") % run.get_status_display()
            messages.error(request, text)
            return HttpResponseRedirect(page)
        form = ReasonForm(request.POST or None)
        if not form.is_valid():
            context = self.admin_site.each_context(request) | {
                "title": f"{action.title} · {self.opts.verbose_name} {run.pk}",
                "opts": self.opts,
                "form": form,
                "action": action,
                "page": page,
                "is_dangerous": name == "undo",
                "run": run,
            }
            return TemplateResponse(request, "employees/backfill_confirm.html", context)
        _act(request, name, run, form.cleaned_data["reason"])
        return HttpResponseRedirect(page)

    def _is_permitted(self, request: HttpRequest, action: BackfillAction) -> bool:
        return bool(request.user.has_perm(action.permission) and self.has_view_permission(request))

    def _progress_context(self, request: HttpRequest, run: BackfillRun) -> dict[str, Any]:
        failed = run.batches.filter(status=BatchStatus.FAILED).count()
        return {
            "run": run,
            "failed": failed,
            "percent": _percent(run),
            "is_moving": run.status in (RunStatus.RUNNING, RunStatus.UNDOING),
            "tone": _TONES.get(RunStatus(run.status), "info"),
            "run_actions": [
                (reverse("admin:employees_backfillrun_do", args=[run.pk, name]), name, action.title)
                for name, action in ACTIONS.items()
                if run.status in action.statuses and self._is_permitted(request, action) and (name != "retry" or failed)
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
        bar = '<span class="s-bar" aria-hidden="true"><i style="width: {}%"></i></span> {} / {}'
        return format_html(bar, _percent(run), run.rows_seen, run.rows_total)


def _may_start(request: HttpRequest) -> bool:
    return request.user.has_perm("employees.add_backfillrun")


def _percent(run: BackfillRun) -> int:
    done, total = run.progress()
    return 100 if run.status in (RunStatus.DONE, RunStatus.UNDONE) else 100 * done // max(total, 1)
