"""What was seen: processes, gate checks, round trips and comparisons."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from config.lib.admin import ReadOnlyAdmin
from monitoring.audit.users import RequiresGlobalScope
from monitoring.indicators.models import RoundTrip
from monitoring.rollout_control.models import GateCheck
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
    list_display = ("at", "took_ms", "display_error")
    fields = ("at", "took_ms", "display_error")
    readonly_fields: ClassVar = ["display_error"]

    @admin.display(description=_("error"))
    def display_error(self, trip: RoundTrip) -> str:
        return trip.display_error


@admin.register(Comparison)
class ComparisonAdmin(RequiresGlobalScope, ReadOnlyAdmin):
    list_display = ("at", "outcome", "pattern", "cache_name", "api_name", "cache_age_days", "university_id", "stage")
    list_filter = ("outcome", "pattern", "stage")
