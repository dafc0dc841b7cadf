"""Changes of the rollout that a test needs, as whoever may make them would."""

from datetime import datetime
from typing import Any

from profiles.rollout import changes
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.models import Action, Plan
from profiles.rollout.rollout_settings import ChangeResult


def request(action: str, *, by: str = "tester", reason: str = "because", **what: Any) -> ChangeRequest:
    return ChangeRequest.of(Action(action), Source.COMMAND, by=by, reason=reason, **what)


def change(action: str, **what: Any) -> ChangeResult:
    """Apply a request past the gates."""
    return changes._apply(request(action, **what))


def plan_step(phase: int, percent: object, due_at: datetime, **params: Any) -> Plan:
    change("plan", phase=phase, steps=[(percent, due_at)], **params)
    return Plan.objects.latest("pk")
