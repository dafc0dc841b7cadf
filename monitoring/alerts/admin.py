from datetime import timedelta
from operator import attrgetter
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from config.lib import audit_log
from config.lib.admin import ReadOnlyAdmin, column
from config.lib.audit_log import AuditedAdmin
from config.lib.scope import refusal
from employees.admin import admin_scope
from monitoring.alerts.kinds import Severity
from monitoring.alerts.models import AcknowledgementRefused, Alert

T = gettext_lazy
HOURS = [(1, T("1 hour")), (4, T("4 hours")), (24, T("1 day")), (168, T("1 week"))]
SEVERITY_COLOURS = {Severity.WARNING: "warning", Severity.CRITICAL: "danger"}
STATE_COLOURS = {"open": "danger", "acknowledged": "warning", "resolved": "success", "muted": "default"}
_GLOBAL_SCOPE = T(
    "Your access is limited to one university, but alerts concern all universities. Ask an operator with access to all "
    "of them to handle this alert."
)


class MuteForm(forms.Form):
    hours = forms.TypedChoiceField(
        label=T("for how long"), choices=HOURS, coerce=int, initial=4, widget=UnfoldAdminSelectWidget
    )
    reason = forms.CharField(label=T("reason"), max_length=500, widget=UnfoldAdminTextInputWidget)


class StateFilter(DropdownFilter):
    title = T("state")
    parameter_name = "stands"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("open", _("open")), ("muted", _("muted")), ("resolved", _("resolved"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        resolved = queryset.exclude(resolved_at=None)
        chosen = {"open": queryset.open(), "muted": queryset.muted(), "resolved": resolved}
        return chosen.get(self.value(), queryset)


# The title, form and success message of each action. A plain forms.Form has no fields: its page shows only a button.
ACTIONS: dict[str, tuple[Any, type[forms.Form], Any]] = {
    "acknowledge": (T("Acknowledge"), forms.Form, T("The alert is acknowledged.")),
    "mute": (T("Mute"), MuteForm, T("Notifications for this alert are muted.")),
    "unmute": (T("Unmute"), forms.Form, T("Notifications for this alert are on again.")),
}


def _act(name: str, alert: Alert, user: Any, cleaned: dict[str, Any]) -> None:
    if name == "acknowledge":
        alert.acknowledge(user)
    elif name == "mute":
        alert.mute(user, until=timezone.now() + timedelta(hours=cleaned["hours"]), reason=cleaned["reason"])
    else:
        alert.unmute()


@admin.register(Alert)
class AlertAdmin(AuditedAdmin, ReadOnlyAdmin):
    list_display = (
        "display_severity", "display_message", "display_state", "fired_at", "resolved_at", "acknowledged_by",
        "muted_until",
    )  # fmt: skip
    # On a phone, the theme shows the heading of the first column only if the column is a link.
    list_display_links = ("display_severity", "display_message")
    list_filter = (StateFilter, "severity", "kind")
    list_filter_submit = True
    list_select_related = ("acknowledged_by", "muted_by")
    change_form_template = "admin/alert.html"
    display_message = column(T("message"), attrgetter("text"))

    def get_urls(self) -> list[Any]:
        answer = self.admin_site.admin_view(self.answer)
        return [path("<int:pk>/answer/<str:name>/", answer, name="monitoring_alert_answer"), *super().get_urls()]

    def may_answer(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("monitoring.change_alert") and self.has_view_permission(request))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            alert = response.context_data["original"]
            names = []
            if self.may_answer(request) and admin_scope(request) is None:
                names += ["acknowledge"] if alert.is_open and alert.acknowledged_at is None else []
                names += ["unmute" if alert.is_muted else "mute"]
            urls = [
                (reverse("admin:monitoring_alert_answer", args=[alert.pk, name]), ACTIONS[name][0]) for name in names
            ]
            response.context_data |= {"answers": urls, "deliveries": alert.deliveries.all()}
        return response

    def answer(self, request: HttpRequest, pk: int, name: str) -> HttpResponse:
        if admin_scope(request) is not None:
            return refusal(request, _GLOBAL_SCOPE)
        frame = {**self.admin_site.each_context(request), "opts": self.opts}
        alert = self.get_object(request, str(pk))
        if alert is None or name not in ACTIONS:
            raise Http404
        if not self.may_answer(request):
            raise PermissionDenied
        title, form_class, success = ACTIONS[name]
        page = reverse("admin:monitoring_alert_change", args=[pk])
        form = form_class(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            context = {**frame, "title": title, "form": form, "alert": alert, "page": page}
            return TemplateResponse(request, "admin/alert_answer.html", context)
        try:
            _act(name, alert, request.user, form.cleaned_data)
        except AcknowledgementRefused as refused:
            messages.error(request, str(refused))
        else:
            audit_log.record(request, audit_log.action_message(title, form.cleaned_data.get("reason", "")), alert)
            messages.success(request, success)
        return HttpResponseRedirect(page)

    @display(description=T("severity"), ordering="severity", label=SEVERITY_COLOURS)
    def display_severity(self, alert: Alert) -> tuple[str, str]:
        return alert.severity, alert.get_severity_display()

    @display(description=T("state"), label=STATE_COLOURS)
    def display_state(self, alert: Alert) -> tuple[str, str]:
        if not alert.is_open:
            return "resolved", _("resolved")
        if alert.is_muted:
            return "muted", _("muted")
        return ("acknowledged", _("acknowledged")) if alert.acknowledged_at else ("open", _("open"))
