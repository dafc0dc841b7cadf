"""Takes the rollout forward where the gates let it, and back at once: behind the admin, the commands and the API."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from monitoring import gates
from monitoring.gates.results import Finding
from monitoring.models import Verdict
from profiles.rollout import changes, rules
from profiles.rollout.controls import Outcome
from profiles.rollout.lock import Busy
from profiles.rollout.models import PHASES, REASON_LENGTH, Flag, Plan, PlanState, Rollout
from profiles.rollout.rules import ChangeRefused, Order
from profiles.rollout.sentences import Said, Sentence, to_columns


class Held(ChangeRefused):
    """A step that the gates do not let through."""


def set_percent(phase: object, percent: object, order: Order, *, action: str = "set") -> Outcome:
    """Set a phase: up by one step if every gate passes or it is forced, down by any amount at once."""
    name = rules.phase_name(phase)
    # Whatever the rules refuse is refused before any gate is asked, in the words of every other surface.
    planned = changes.set_percent(name, percent, replace(order, is_dry_run=True))
    current, target = planned.before.percents[name], planned.after.percents[name]
    if target > current:
        order = _judged(name, current, target, replace(order, expected_revision=planned.revision))
    return changes.set_percent(name, target, order, action=action)


def advance(phase: object, order: Order) -> Outcome:
    """Take a phase one step further; without a phase, the one whose turn it is.

    Only from where it was seen: after somebody else's step this one might be a step back, which no gate is asked about.
    """
    seen = Rollout.current().revision
    name = rules.phase_name(phase) if phase else turn()
    flag = Flag.objects.filter(name=name).first()
    step = step_after(name, flag.percent if flag else Decimal(0))
    if step is None:
        raise ChangeRefused(Sentence("Phase %(phase)d is at 100 %% already", {"phase": rules.phase_number(name)}))
    expected = seen if order.expected_revision is None else order.expected_revision
    return set_percent(name, step, replace(order, expected_revision=expected), action="advance")


def turn() -> str:
    """Return the first phase that is not complete."""
    percents = dict(Flag.objects.filter(name__in=PHASES).values_list("name", "percent"))
    return next((name for name in PHASES if percents.get(name, Decimal(0)) < 100), PHASES[-1])


def step_after(name: str, percent: Decimal) -> Decimal | None:
    if rules.phase_number(name) <= 2:
        return Decimal(100) if percent < 100 else None
    return rules.next_step(percent)


def _judged(name: str, current: Decimal, target: Decimal, order: Order) -> Order:
    """Return the order with the gates' evidence; raise Held unless they all pass or it is forced."""
    judgement = gates.judge(rules.phase_number(name), target)
    evidence = judgement.as_json()
    step = step_after(name, current)
    if step is not None and target > step:
        words = {"current": rules.shown(current), "step": rules.shown(step)}
        why = Sentence("one step at a time: after %(current)s %% comes %(step)s %%", words)
        jump = Finding("step", Verdict.FAIL, why)
        judgement.findings.insert(0, jump)
        evidence.insert(0, jump.as_json())
    if judgement.failing and not order.is_forced:
        raise Held(judgement.held())
    return replace(order, evidence=evidence, is_forced=bool(judgement.failing))


def fire(plan: Plan) -> str:
    """Carry out a planned step that is due, unless the rollout has changed or a gate holds it; return what became."""
    plan.state, outcome = _fired(plan)
    plan.outcome, plan.sentence = to_columns(outcome, REASON_LENGTH)
    plan.save()
    return plan.text


def _fired(plan: Plan) -> tuple[PlanState, Said]:
    revision = Rollout.current().revision
    if plan.revision != revision:
        words = {"then": plan.revision, "now": revision}
        why = Sentence("Dropped: planned at revision %(then)d, the rollout is at %(now)d", words)
        return PlanState.DROPPED, why
    order = Order(plan.by, plan.reason, expected_revision=plan.revision)
    try:
        set_percent(plan.phase, plan.percent, order, action="schedule")
    except Busy as busy:
        # Nothing speaks against the step: the next look takes it.
        return PlanState.PLANNED, busy.said
    except ChangeRefused as refused:
        return PlanState.DROPPED, refused.said
    return PlanState.DONE, Sentence("Done")


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
