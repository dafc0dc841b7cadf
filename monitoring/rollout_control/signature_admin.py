from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget

from config.lib.audit_log import AuditedAdmin
from monitoring.rollout_control import checklist
from monitoring.rollout_control.models import Signature


class SignatureForm(forms.ModelForm):  # type: ignore[type-arg]
    item = forms.ChoiceField(label=_("item"), choices=checklist.TO_SIGN, widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Signature
        fields = ("item", "note")


@admin.register(Signature)
class SignatureAdmin(AuditedAdmin):
    """The checklist's signatures: given in one's own name, never altered; they expire by themselves."""

    form = SignatureForm
    list_display = ("told", "by", "note", "signed_at", "expires_at")
    list_select_related = ("by",)

    def get_fields(self, request: HttpRequest, obj: Signature | None = None) -> Any:
        return ("told", "by", "note", "signed_at", "expires_at") if obj else ("item", "note")

    def get_readonly_fields(self, request: HttpRequest, obj: Signature | None = None) -> Any:
        return ("told",) if obj else ()

    @admin.display(description=_("item"), ordering="item")
    def told(self, signature: Signature) -> str:
        return str(signature)

    def save_model(self, request: HttpRequest, obj: Signature, form: Any, change: bool) -> None:
        obj.by = request.user  # type: ignore[assignment]
        obj.expires_at = timezone.now() + checklist.SIGNED_FOR
        obj.save()

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
