"""Everything that changes the rollout, behind the admin, the commands, the API and ``Flag.save()``.

Each change locks the one row of the rollout, keeps the rules, counts the revision up by one and leaves one audit row.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from waffle.models import Switch

from profiles.rollout import rules
from profiles.rollout.controls import Controls, Outcome, plan_as_json
from profiles.rollout.decision import forget_state
from profiles.rollout.lock import locked_rollout, patient_transaction
from profiles.rollout.models import (
    EMERGENCY_STOP,
    PHASES,
    REASON_LENGTH,
    SWITCHES,
    Change,
    Flag,
    OnBreach,
    Plan,
    PlanState,
    Rollout,
    Scope,
)
from profiles.rollout.rules import ChangeRefused, Order
from profiles.rollout.sentences import Sentence, to_columns

RESUMED_SHARE = Decimal(1)
_LATCH_PATIENCE_MS = 500


def _change(action: str, order: Order, edit: Callable[[Controls], None]) -> Outcome:
    rules.refuse_unreasoned(order.reason)
    with locked_rollout() as rollout:
        rules.refuse_stale(order.expected_revision, rollout.revision)
        before = Controls.read(rollout)
        after = deepcopy(before)
        edit(after)
        outcome = Outcome(before, after, rollout.revision, order.is_dry_run)
        if outcome.is_change and not order.is_dry_run:
            write(rollout, before, after)
            record(rollout, action, order, before.as_json(), after.as_json())
            outcome = replace(outcome, revision=rollout.revision)
    return outcome


def write(rollout: Rollout, before: Controls, after: Controls) -> None:
    for name, percent in after.percents.items():
        if percent != before.percents[name] or name in before.everyone:
            Flag.objects.filter(name=name).update(
                percent=percent, everyone=after.everyone.get(name), moved_at=timezone.now(), modified=timezone.now()
            )
    if before.is_latched and not after.is_latched:
        # The database refuses to unlatch in any other transaction.
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('rollout.resuming', 'on', true)")
    for name, is_active in after.switches.items():
        if is_active != before.switches.get(name):
            Switch.objects.update_or_create(name=name, defaults={"active": is_active})
    rollout.is_paused, rollout.held = bool(after.held_for), after.held_for
    rollout.on_breach, rollout.remembered = after.on_breach, after.remembered


def record(rollout: Rollout, action: str, order: Order, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Count the locked rollout's revision up and leave the audit row."""
    rollout.revision += 1
    rollout.revised_at = Now()
    rollout.save()
    told = {"before": before, "after": after, "evidence": order.evidence, "is_forced": order.is_forced}
    leave_row(action, order, revision=rollout.revision, **told)
    # Within this transaction too: whoever decides next in it, decides by what was just written.
    forget_state()


def leave_row(action: str, order: Order, **told: Any) -> None:
    reason, sentence = to_columns(order.reason, REASON_LENGTH)
    Change.objects.create(by=order.by[:150], action=action, reason=reason, sentence=sentence, **told)
    transaction.on_commit(forget_state)


def set_percent(phase: object, percent: object, order: Order, *, action: str = "set") -> Outcome:
    """Set one phase; deeper phases are lowered with it. Gates are not asked here (monitoring.steering)."""
    name = rules.phase_name(phase)

    def edit(controls: Controls) -> None:
        controls.percents = controls.moved(name, percent)
        controls.everyone.pop(name, None)

    return _change(action, order, edit)


def set_switch(name: str, is_active: bool, order: Order) -> Outcome:
    """Turn one of the parts or services on or off."""
    if name == EMERGENCY_STOP:
        return emergency(order) if is_active else _refuse_unlatching(order)
    if name not in SWITCHES:
        raise ChangeRefused(Sentence("There is no switch “%(name)s”", {"name": name[:50]}))

    def edit(controls: Controls) -> None:
        if is_active and name == "webhook_processing" and controls.is_latched:
            controls.refuse_raise()
        controls.switches[name] = is_active

    return _change("switch", order, edit)


def _refuse_unlatching(order: Order) -> Outcome:
    def edit(controls: Controls) -> None:
        if controls.is_latched:
            controls.refuse_raise()

    return _change("switch", order, edit)


def pause(order: Order) -> Outcome:
    """Stop advances, schedules and automatic steps; the percentages stay."""

    def edit(controls: Controls) -> None:
        controls.held_for = controls.held_for or order.reason

    return _change("pause", order, edit)


def set_on_breach(on_breach: OnBreach, order: Order) -> Outcome:
    """Choose what three breaches in a row do: hold, or go back one step."""
    return _change("on-breach", order, lambda controls: setattr(controls, "on_breach", str(on_breach)))


def roll_back_step(phase: object, order: Order) -> Outcome:
    """Lower a phase by one step and hold it there until somebody resumes."""
    name = rules.phase_name(phase)

    def edit(controls: Controls) -> None:
        controls.percents = rules.settled(controls.percents, name, rules.step_before(controls.percents[name]))
        controls.held_for = order.reason

    return _change("roll-back", order, edit)


def emergency(order: Order) -> Outcome:
    """Let the direct API answer for everyone, collect nothing, and remember what was on. A second one does nothing.

    What else has to stop with it is stopped by monitoring.way_back.
    """

    def edit(controls: Controls) -> None:
        if not controls.is_latched or not controls.remembered:
            controls.remembered = {name: rules.shown(percent) for name, percent in controls.percents.items()}
        controls.percents = dict.fromkeys(PHASES, Decimal(0))
        controls.everyone = {}
        controls.switches |= {EMERGENCY_STOP: True, "webhook_processing": False}

    with transaction.atomic():
        outcome = _change("emergency", order, edit)
        if not order.is_dry_run:
            told, sentence = to_columns(Sentence("Cancelled by an emergency rollback"), REASON_LENGTH)
            planned = Plan.objects.filter(state=PlanState.PLANNED)
            planned.update(state=PlanState.DROPPED, outcome=told, sentence=sentence)
    return outcome


def latch(order: Order) -> None:
    """Latch the emergency stop without the rollout's row, which somebody keeps: the direct API answers from now on.

    The revision stays, because nobody else may count it; the emergency that follows finds the latch.
    """
    with patient_transaction(_LATCH_PATIENCE_MS):
        Switch.objects.update_or_create(name=EMERGENCY_STOP, defaults={"active": True})
        leave_row("latch", order, revision=Rollout.current().revision)


def resume(order: Order) -> Outcome:
    """Clear the latch, or the pause. After an emergency phase 3 starts anew at 1 %, with the same cohort."""

    def edit(controls: Controls) -> None:
        controls.held_for = ""
        if not controls.is_latched:
            return
        was = controls.percents | {name: Decimal(percent) for name, percent in controls.remembered.items()}
        first, second, third, fourth = PHASES
        controls.percents = {
            first: was[first],
            second: was[second],
            # Never more than there was before the emergency.
            third: min(was[third], RESUMED_SHARE),
            fourth: Decimal(0),
        }
        controls.switches |= {EMERGENCY_STOP: False, "webhook_processing": True}
        controls.remembered = {}

    return _change("resume", order, edit)


def plan(phase: object, percent: object, due_at: datetime, order: Order) -> Plan:
    """Plan a step for later, for the rollout as it is at this revision."""
    name, wanted = rules.phase_name(phase), rules.percentage(percent)
    rules.refuse_unreasoned(order.reason)
    with locked_rollout() as rollout:
        rules.refuse_stale(order.expected_revision, rollout.revision)
        controls = Controls.read(rollout)
        controls.moved(name, wanted)
        _refuse_twice(rules.phase_number(name), wanted, due_at)
        planned = Plan(
            phase=rules.phase_number(name),
            percent=wanted,
            due_at=due_at,
            revision=rollout.revision,
            by=order.by[:150],
            reason=str(order.reason),
        )
        if not order.is_dry_run:
            planned.save()
            # Without counting the revision, which would make this very step void.
            leave_row("plan", order, revision=rollout.revision, after=plan_as_json(planned))
    return planned


def _refuse_twice(phase: int, percent: Decimal, due_at: datetime) -> None:
    same = Plan.objects.filter(state=PlanState.PLANNED, phase=phase, percent=percent, due_at=due_at)
    if same.exists():
        raise ChangeRefused(Sentence("This step is planned already"))


def cancel(pk: int, order: Order) -> bool:
    """Drop a step that is still planned; tell whether it was. It needs no revision: nothing is changed by it."""
    rules.refuse_unreasoned(order.reason)
    with transaction.atomic():
        planned = Plan.objects.select_for_update().filter(pk=pk, state=PlanState.PLANNED).first()
        if planned is None:
            return False
        planned.state = PlanState.DROPPED
        planned.outcome, planned.sentence = to_columns(Sentence("Cancelled by %(by)s", {"by": order.by}), REASON_LENGTH)
        planned.save()
        leave_row("cancel", order, revision=Rollout.current().revision, before=plan_as_json(planned))
    return True


def set_scope(scope: Scope, order: Order, *, is_removal: bool = False) -> None:
    """Let a university into a phase or keep it out, or take such a rule away."""
    rules.refuse_unreasoned(order.reason)
    rule: dict[str, Any] = {"university": scope.university_id, "phase": scope.phase, "allowed": scope.is_allowed}
    rule["expires_at"] = scope.expires_at.isoformat() if scope.expires_at else None
    with locked_rollout() as rollout:
        rules.refuse_stale(order.expected_revision, rollout.revision)
        if scope.expires_at and scope.expires_at <= timezone.now() and not is_removal:
            raise ChangeRefused(Sentence("The rule would be over before it begins"))
        if is_removal:
            scope.delete()
        else:
            scope.reason = scope.reason or str(order.reason)
            scope.save()
        record(rollout, "scope", order, rule if is_removal else {}, {} if is_removal else rule)


def note(action: str, order: Order, told: dict[str, Any], *, before: dict[str, Any] | None = None) -> None:
    """Leave an audit row of something that changed none of the controls."""
    with locked_rollout() as rollout:
        record(rollout, action, order, before or {}, told)
