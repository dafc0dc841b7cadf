"""The admin pages of gate results, synthetic round trips and signatures of checklist items."""

from operator import attrgetter
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget

from config.lib.admin import ReadOnlyAdmin, SharedRowsAdmin, column
from config.lib.audit_log import AuditedAdmin
from monitoring.indicators.models import RoundTrip
from monitoring.rollout_control.guide import checklist
from monitoring.rollout_control.models import GateCheck, Signature


@admin.register(GateCheck)
class GateCheckAdmin(ReadOnlyAdmin):
    list_display = ("at", "phase", "gate", "verdict", "display_message")
    list_filter = ("verdict", "gate", "phase")
    fields = ("at", "phase", "gate", "verdict", "display_message", "value")
    readonly_fields: ClassVar = ["display_message"]
    display_message = column(_("message"), attrgetter("text"))


@admin.register(RoundTrip)
class RoundTripAdmin(ReadOnlyAdmin):
    list_display = ("at", "took_ms", "display_error")
    fields = ("at", "took_ms", "display_error")
    readonly_fields: ClassVar = ["display_error"]
    display_error = column(_("error"), attrgetter("display_error"))


class SignatureForm(forms.ModelForm):  # type: ignore[type-arg]
    item = forms.ChoiceField(label=_("item"), choices=checklist.TO_SIGN, widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Signature
        fields = ("item", "note")


@admin.register(Signature)
class SignatureAdmin(SharedRowsAdmin, AuditedAdmin):
    """Signatures of checklist items. Users sign in their own name; a signature cannot be changed, and it expires.

    The checklist covers all universities, so users who are limited to one of them can only view it.
    """

    form = SignatureForm
    list_display = ("display_item", "by", "note", "signed_at", "expires_at")
    list_select_related = ("by",)
    display_item = column(_("item"), str, "item")

    def get_fields(self, request: HttpRequest, obj: Signature | None = None) -> Any:
        return self.list_display if obj else ("item", "note")

    def get_readonly_fields(self, request: HttpRequest, obj: Signature | None = None) -> Any:
        return ("display_item",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Signature, form: Any, change: bool) -> None:
        obj.by = request.user  # type: ignore[assignment]
        obj.expires_at = timezone.now() + checklist.SIGNATURE_LASTS
        obj.save()

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
