from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's name)
from django.db import DatabaseError

from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import format_percent


@register
def check_waffle_override(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    if not getattr(settings, "WAFFLE_OVERRIDE", False):
        return []
    hint = "Remove WAFFLE_OVERRIDE; `manage.py rollout` changes a phase."
    return [Error("WAFFLE_OVERRIDE lets a query string switch flags.", hint=hint, id="rollout.E001")]


@register(deploy=True)
def check_phases(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        flags = list(Flag.objects.filter(name__in=PHASES))
    except DatabaseError:
        # Before the first migration, or without a database, there is nothing to check.
        return []
    warnings: list[CheckMessage] = [
        Warning(
            f"{flag.name} is overridden: {'on' if flag.everyone else 'off'} for everyone, whatever its percentage.",
            # For an “off” override, the hint sets 0%: any other percentage would admit more people, and so needs gates.
            hint=f"manage.py rollout set --phase {flag.name}"
            f" --percent {format_percent(flag.percent) if flag.everyone else 0} --reason … removes the override.",
            id="rollout.W001",
        )
        for flag in flags
        if flag.everyone is not None
    ]
    if not settings.MAX_BOT_TOKEN and any(flag.name == PHASES[3] and (flag.everyone or flag.percent) for flag in flags):
        text = "Phase 4 is on without the direct API: people with no stored profile are named Неизвестно."
        warnings.append(Warning(text, hint="Set MAX_BOT_TOKEN, or go back to phase 3.", id="rollout.W002"))
    return warnings
