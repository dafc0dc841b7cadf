"""What was seen and signed: processes, gate checks, round trips, comparisons and the checklist's signatures."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget

from config.read_only import ReadOnlyAdmin
from monitoring import checklist
from monitoring.models import GateCheck, RoundTrip, Signature
from monitoring.people_admin import OfEverybody
from profiles.models import Comparison
from profiles.rollout.models import Heartbeat


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    list_display = ("process", "revision", "revision_seen_at", "seen_at")


@admin.register(GateCheck)
class GateCheckAdmin(ReadOnlyAdmin):
    list_display = ("at", "phase", "gate", "verdict", "told")
    list_filter = ("verdict", "gate", "phase")
    fields = ("at", "phase", "gate", "verdict", "told", "value")
    readonly_fields: ClassVar = ["told"]

    @admin.display(description=_("message"))
    def told(self, check: GateCheck) -> str:
        return check.text


@admin.register(RoundTrip)
class RoundTripAdmin(ReadOnlyAdmin):
    list_display = ("at", "took_ms", "error")


@admin.register(Comparison)
class ComparisonAdmin(OfEverybody, ReadOnlyAdmin):
    list_display = ("at", "outcome", "pattern", "cache_name", "api_name", "cache_age_days", "university_id", "stage")
    list_filter = ("outcome", "pattern", "stage")


class SignatureForm(forms.ModelForm):  # type: ignore[type-arg]
    item = forms.ChoiceField(label=_("item"), choices=checklist.TO_SIGN, widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Signature
        fields = ("item", "note")


@admin.register(Signature)
class SignatureAdmin(ModelAdmin):
    """The checklist's signatures: given in one's own name, never altered; they expire by themselves."""

    form = SignatureForm
    list_display = ("told", "by", "note", "signed_at", "expires_at")
    list_select_related = ("by",)

    @admin.display(description=_("item"), ordering="item")
    def told(self, signature: Signature) -> str:
        return str(signature)

    def save_model(self, request: HttpRequest, obj: Signature, form: Any, change: bool) -> None:
        obj.by = request.user  # type: ignore[assignment]
        obj.expires_at = timezone.now() + checklist.SIGNED_FOR
        obj.save()

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
