from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's name)
from django.db import DatabaseError

from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES


@register
def visitors_decide_nothing(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    if not getattr(settings, "WAFFLE_OVERRIDE", False):
        return []
    hint = "Remove WAFFLE_OVERRIDE; `manage.py rollout` changes a phase."
    return [Error("WAFFLE_OVERRIDE lets a query string switch flags.", hint=hint, id="rollout.E001")]


@register(deploy=True)
def phases_are_as_they_look(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        flags = list(Flag.objects.filter(name__in=PHASES))
    except DatabaseError:
        # Before the first migration, or without a database, there is no phase to judge.
        return []
    overridden = [
        Warning(
            f"{flag.name} is overridden: {'on' if flag.everyone else 'off'} for everyone, whatever its percentage.",
            hint="Set the percentage with `manage.py rollout set` to remove the override.",
            id="rollout.W001",
        )
        for flag in flags
        if flag.everyone is not None
    ]
    has_phase_4 = any(flag.name == PHASES[3] and (flag.everyone or flag.percent) for flag in flags)
    return [*overridden, *([_NOBODY_TO_ASK] if has_phase_4 and not settings.MAX_BOT_TOKEN else [])]


_NOBODY_TO_ASK = Warning(
    "Phase 4 is on and the direct API is off: whom no store knows is called Неизвестно, and never asked for.",
    hint="Set MAX_BOT_TOKEN, or go back to phase 3.",
    id="rollout.W002",
)
