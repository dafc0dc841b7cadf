"""What a change of the rollout takes from here: gates for a raise, a pause of the backfill, planned steps that fire."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

from django.db import OperationalError, ProgrammingError, transaction
from django.utils import timezone

from config.lib.messages import Message, Text, to_columns
from employees.models import BackfillRun
from monitoring.rollout_control import gates
from monitoring.rollout_control.gates.results import GateResult
from monitoring.rollout_control.models import Verdict
from profiles.rollout import changes, rules
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.lock import Busy, impatient_transaction
from profiles.rollout.models import REASON_LENGTH, Action, Plan, PlanState, Rollout
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import ChangeRefused

_BACKFILL_PATIENCE_MS = 500


def judge_raise(phase: int, current: Decimal, target: Decimal) -> tuple[list[dict[str, Any]], Message | None]:
    """Return what the gates found of a raise, and why they hold it; more than one step at once is held too."""
    judgement = gates.judge(phase, target)
    step = rules.step_after(PHASES[phase - 1], current)
    if step is not None and target > step:
        words = {"current": rules.shown(current), "step": rules.shown(step)}
        why = Message("one step at a time: after %(current)s %% comes %(step)s %%", words)
        judgement.findings.insert(0, GateResult("step", Verdict.FAIL, why))
    return judgement.as_json(), judgement.held() if judgement.failing else None


def pause_backfill(request: ChangeRequest, **_: Any) -> None:
    """Pause the backfill with an emergency stop."""
    # A batch that keeps the run's row is not waited for: it is the last one, the next would see the latch. And where
    # the schema has gone back there is nothing to pause.
    with suppress(OperationalError, ProgrammingError), impatient_transaction(_BACKFILL_PATIENCE_MS):
        BackfillRun.objects.pause(str(request.reason))


def fire(plan: Plan) -> str:
    """Carry out a planned step that is due, unless the rollout has changed or a gate holds it; return what became."""
    revision = Rollout.current().revision
    step = {"phase": plan.phase, "percent": plan.percent, "expected_revision": plan.revision}
    words = {"then": plan.revision, "now": revision}
    outcome: Text = Message("Dropped: planned at revision %(then)d, the rollout is at %(now)d", words)
    plan.state = PlanState.DROPPED
    try:
        if plan.revision == revision:
            changes.apply(ChangeRequest.of(Action.SET, Source.SCHEDULE, by=plan.by, reason=plan.reason, **step))
            plan.state, outcome = PlanState.DONE, Message("Done")
    except Busy as busy:
        # Nothing speaks against the step: the next look takes it.
        plan.state, outcome = PlanState.PLANNED, busy.text
    except ChangeRefused as refused:
        outcome = refused.text
    plan.outcome, plan.sentence = to_columns(outcome, REASON_LENGTH)
    plan.save()
    return plan.text


def fire_due() -> int:
    """Fire what is due, each plan once even where two conductors run."""
    count = 0
    for pk in Plan.objects.filter(state=PlanState.PLANNED, due_at__lte=timezone.now()).values_list("pk", flat=True):
        with transaction.atomic():
            plan = Plan.objects.select_for_update(skip_locked=True).filter(pk=pk, state=PlanState.PLANNED).first()
            if plan:
                fire(plan)
                count += 1
    return count
