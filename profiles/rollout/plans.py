"""Plans: steps of a phase that the rollout controller takes later, each at its time or when its gates pass."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from config.lib.messages import Message
from profiles.rollout import rules
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.models import Action, Plan, PlanState
from profiles.rollout.rules import ChangeRefused

# A step planned further ahead than this is probably a typing error, which nobody would notice for a year.
FARTHEST = timedelta(days=366)


def check_moment(due_at: datetime) -> datetime:
    """Return the time of a planned step; raise ChangeRefused if it is in the past or more than a year ahead."""
    now = timezone.now()
    if due_at <= now:
        raise ChangeRefused(Message("Choose a time in the future."))
    if due_at > now + FARTHEST:
        raise ChangeRefused(Message("A step can be planned at most one year ahead."))
    return due_at


def steps_of(request: ChangeRequest, revision: int) -> list[Plan]:
    """Return the steps of the requested plan without saving them; raise ChangeRefused if the plan is invalid."""
    if not request.steps:
        raise ChangeRefused(Message("A plan needs at least one step."))
    for (percent, due_at), (later, later_due_at) in zip(request.steps, request.steps[1:], strict=False):
        if later <= percent or later_due_at < due_at or (later_due_at == due_at and not request.waits_for_gates):
            raise ChangeRefused(Message("Each step needs a higher percentage and a later time than the one before."))
    if request.hours and request.hours[0] == request.hours[1]:
        raise ChangeRefused(Message("The hours must begin and end at different times."))
    from_hour, until_hour = request.hours or (None, None)
    common: dict[str, Any] = {
        "phase": rules.phase_number(request.phase),
        "revision": revision,
        "by": request.by,
        "reason": str(request.reason),
        "account": request.account,
        "waits_for_gates": request.waits_for_gates,
        "from_hour": from_hour,
        "until_hour": until_hour,
    }
    return [
        Plan(percent=percent, due_at=due_at, state=PlanState.QUEUED if number else PlanState.PLANNED, **common)
        for number, (percent, due_at) in enumerate(request.steps)
    ]


def store(steps: list[Plan]) -> None:
    first, *later = steps
    first.save()
    for step in later:
        step.first = first
        step.save()


def as_json(steps: Iterable[Plan]) -> dict[str, Any]:
    """Return the plan as JSON for its audit row.

    The first step is stored in the format of earlier releases, in which a plan had only one step.
    """
    listed = list(steps)
    moves = [{"percent": rules.format_percent(one.percent), "due_at": one.due_at.isoformat()} for one in listed]
    json: dict[str, Any] = {"phase": listed[0].phase} | moves[0]
    if len(moves) > 1:
        json["later"] = moves[1:]
    if listed[0].waits_for_gates:
        json["waits_for_gates"] = True
    return json | ({"hours": list(listed[0].hours)} if listed[0].hours else {})


def request_of(plan: Plan) -> ChangeRequest:
    """Return the change request that a planned step would make now."""
    step: dict[str, Any] = {
        "phase": plan.phase,
        "percent": plan.percent,
        "expected_revision": plan.revision,
        "plan": plan.pk,
    }
    return ChangeRequest.of(Action.SET, Source.SCHEDULE, by=plan.by, reason=plan.reason, account=plan.account, **step)


def finish(plan: Plan, revision: int) -> None:
    """Mark the step as done and the plan's next step as planned; ``revision`` is the revision after this step."""
    plan.conclude(PlanState.DONE, Message("Done"))
    following = Plan.objects.of(plan).filter(state=PlanState.QUEUED).first()
    if following:
        following.state, following.revision = PlanState.PLANNED, revision
        following.save()
