from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
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
from config.lib.admin import ReadOnlyAdmin
from config.lib.audit_log import AuditedAdmin
from config.lib.scope import refusal
from employees.admin import admin_scope
from monitoring.alerts import acknowledgements
from monitoring.alerts.kinds import Severity
from monitoring.alerts.models import Alert

HOURS = [
    (1, gettext_lazy("1 hour")),
    (4, gettext_lazy("4 hours")),
    (24, gettext_lazy("1 day")),
    (168, gettext_lazy("1 week")),
]
_GLOBAL_SCOPE = gettext_lazy(
    "Your access is limited to one university, but alerts concern all universities. Ask an operator with access to all "
    "of them to handle this alert."
)


class MuteForm(forms.Form):
    hours = forms.TypedChoiceField(
        label=gettext_lazy("for how long"), choices=HOURS, coerce=int, initial=4, widget=UnfoldAdminSelectWidget
    )
    reason = forms.CharField(label=gettext_lazy("reason"), max_length=500, widget=UnfoldAdminTextInputWidget)


class StateFilter(DropdownFilter):
    title = gettext_lazy("state")
    parameter_name = "stands"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("open", gettext_lazy("open")),
            ("muted", gettext_lazy("muted")),
            ("resolved", gettext_lazy("resolved")),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "open":
            return queryset.open()
        if self.value() == "muted":
            return queryset.muted()
        return queryset.filter(resolved_at__isnull=False) if self.value() == "resolved" else queryset


def _acknowledge(alert: Alert, request: HttpRequest, cleaned: dict[str, Any]) -> str:
    acknowledgements.acknowledge(alert, request.user)  # type: ignore[arg-type]
    return _("The alert is acknowledged.")


def _mute(alert: Alert, request: HttpRequest, cleaned: dict[str, Any]) -> str:
    until = timezone.now() + timedelta(hours=cleaned["hours"])
    acknowledgements.mute(alert, request.user, until=until, reason=cleaned["reason"])  # type: ignore[arg-type]
    return _("Notifications for this alert are muted.")


def _unmute(alert: Alert, request: HttpRequest, cleaned: dict[str, Any]) -> str:
    acknowledgements.unmute(alert)
    return _("Notifications for this alert are on again.")


Action = Callable[[Alert, HttpRequest, dict[str, Any]], str]
# The title, form and function of each action. A plain forms.Form has no fields: its page shows only a button.
ACTIONS: dict[str, tuple[Any, type[forms.Form], Action]] = {
    "acknowledge": (gettext_lazy("Acknowledge"), forms.Form, _acknowledge),
    "mute": (gettext_lazy("Mute"), MuteForm, _mute),
    "unmute": (gettext_lazy("Unmute"), forms.Form, _unmute),
}


@admin.register(Alert)
class AlertAdmin(AuditedAdmin, ReadOnlyAdmin):
    list_display = (
        "display_severity",
        "display_message",
        "display_state",
        "fired_at",
        "resolved_at",
        "acknowledged_by",
        "muted_until",
    )
    # On a phone, the theme shows the heading of the first column only if the column is a link.
    list_display_links = ("display_severity", "display_message")
    list_filter = (StateFilter, "severity", "kind")
    list_filter_submit = True
    list_select_related = ("acknowledged_by", "muted_by")
    change_form_template = "admin/alert.html"

    def get_urls(self) -> list[Any]:
        answer = self.admin_site.admin_view(self.answer)
        return [path("<int:pk>/answer/<str:name>/", answer, name="monitoring_alert_answer"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        alerts: QuerySet[Alert] = super().get_queryset(request)
        return alerts.select_related("acknowledged_by", "muted_by")

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
        title, form_class, act = ACTIONS[name]
        page = reverse("admin:monitoring_alert_change", args=[pk])
        form = form_class(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            context = {**frame, "title": title, "form": form, "alert": alert, "page": page}
            return TemplateResponse(request, "admin/alert_answer.html", context)
        try:
            text = act(alert, request, form.cleaned_data)
        except acknowledgements.AcknowledgementRefused as refused:
            messages.error(request, str(refused))
        else:
            audit_log.record(request, audit_log.action_message(title, form.cleaned_data.get("reason", "")), alert)
            messages.success(request, text)
        return HttpResponseRedirect(page)

    @display(
        description=gettext_lazy("severity"),
        ordering="severity",
        label={Severity.WARNING: "warning", Severity.CRITICAL: "danger"},
    )
    def display_severity(self, alert: Alert) -> tuple[str, str]:
        return alert.severity, alert.get_severity_display()

    @display(description=gettext_lazy("message"))
    def display_message(self, alert: Alert) -> str:
        return alert.text

    @display(
        description=gettext_lazy("state"),
        label={"open": "danger", "acknowledged": "warning", "resolved": "success", "muted": "default"},
    )
    def display_state(self, alert: Alert) -> tuple[str, str]:
        if not alert.is_open:
            return "resolved", _("resolved")
        if alert.is_muted:
            return "muted", _("muted")
        return ("acknowledged", _("acknowledged")) if alert.acknowledged_at else ("open", _("open"))
