"""The one way to change the rollout, for the admin, the commands, the API, ``Flag.save()``, plans and the controller.

Each surface makes a ChangeRequest of what it was given and calls ``apply``, which locks the one row of the rollout,
keeps the rules, counts the revision up by one and leaves one audit row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now
from django.dispatch import Signal, receiver
from django.utils import timezone
from waffle.models import Switch

from config.lib.messages import Message, to_columns
from profiles.rollout import rules
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.decision import forget_state
from profiles.rollout.lock import Busy, locked_rollout, transaction_with_lock_timeout
from profiles.rollout.models import (
    REASON_LENGTH,
    Action,
    Change,
    Flag,
    Plan,
    PlanState,
    Rollout,
    flag_deleting,
    flag_saving,
)
from profiles.rollout.phases import EMERGENCY_STOP, PHASES
from profiles.rollout.rollout_settings import ChangeResult, RolloutSettings, flag_as_json, plan_as_json, rule_as_json
from profiles.rollout.rules import ChangeRefused

RESUMED_SHARE = Decimal(1)
_LATCH_PATIENCE_MS = 500

# Sent with its ``request``, in the transaction of an emergency stop: what works by the rollout stops with it.
emergency_stopped = Signal()


class GatesNotPassed(ChangeRefused):
    """A step that the gates do not let through."""


class Latched(Busy):
    """The emergency stop is in force, and no more than that: somebody keeps the rollout locked."""


# Of a phase's number, its percentage and the one that is wanted: what the gates found, and why they hold it if they do.
Judge = Callable[[int, Decimal, Decimal], tuple[list[dict[str, Any]], Message | None]]
_judges: list[Judge] = []


def register_gates(judge: Judge) -> None:
    """Have this judge asked about each raise; the gates are above this package, so they register when Django starts."""
    _judges[:] = [judge]


def apply(request: ChangeRequest) -> ChangeResult:
    """Do what is requested, and return what changed; a dry run returns what would change, and writes nothing.

    Raises ChangeRefused for what the rules refuse, GatesNotPassed for a raise that the gates hold, Busy while somebody
    else keeps the rollout locked, and Latched when an emergency could do no more than latch because of that.
    """
    try:
        return _apply(_let_through(_resolve(request)))
    except Busy as busy:
        if request.action != Action.EMERGENCY or request.is_dry_run:
            raise
        _latch(request)
        text = "Latched: the direct API answers for everyone. The percentages are as they were, repeat this. %(busy)s"
        raise Latched(Message(text, {"busy": busy.text})) from None


def preview(request: ChangeRequest) -> ChangeResult:
    """Return what the request would change, gates aside; raise ChangeRefused as ``apply`` does."""
    return _plan_change(Rollout.current(), replace(_resolve(request), is_dry_run=True))[0]


def next_phase() -> str:
    """Return the first phase that is not complete."""
    percents = dict(Flag.objects.filter(name__in=PHASES).values_list("name", "percent"))
    return next((name for name in PHASES if percents.get(name, Decimal(0)) < 100), PHASES[-1])


def _resolve(request: ChangeRequest) -> ChangeRequest:
    """Make an advance a step to a percentage, only from the revision at which its phase was seen.

    After somebody else's step it might be a step back, which no gate is asked about.
    """
    if request.action != Action.ADVANCE:
        return request
    seen = Rollout.current().revision
    name = request.phase or next_phase()
    flag = Flag.objects.filter(name=name).first()
    step = rules.step_after(name, flag.percent if flag else Decimal(0))
    if step is None:
        raise ChangeRefused(Message("Phase %(phase)d is at 100 %% already", {"phase": rules.phase_number(name)}))
    expected = seen if request.expected_revision is None else request.expected_revision
    return replace(request, phase=name, percent=step, expected_revision=expected)


def _let_through(request: ChangeRequest) -> ChangeRequest:
    """Return the request with what the gates found, or raise GatesNotPassed: the one place that lets a raise through.

    Whatever has to agree to a raise, besides the gates, belongs here. What code saves is not judged.
    """
    if request.action not in (Action.SET, Action.ADVANCE) or request.source == Source.CODE:
        return request
    # Whatever the rules refuse is refused before any gate is asked.
    planned = _apply(replace(request, is_dry_run=True))
    current, target = planned.before.percents[request.phase], request.percent
    if target <= current:
        return replace(request, is_forced=False)
    [judge] = _judges
    evidence, held = judge(rules.phase_number(request.phase), current, target)
    if held and not request.is_forced:
        raise GatesNotPassed(held)
    return replace(request, evidence=evidence, is_forced=bool(held), expected_revision=planned.revision)


@contextmanager
def _opened(request: ChangeRequest) -> Iterator[Rollout]:
    """Lock the rollout, but for what is none of it: that waits for nobody."""
    if request.is_of_rollout or request.action == Action.PLAN:
        with locked_rollout() as rollout:
            yield rollout
    else:
        with transaction.atomic():
            yield Rollout.current()


def _apply(request: ChangeRequest) -> ChangeResult:
    with _opened(request) as rollout:
        outcome, row = _plan_change(rollout, request)
        if request.is_dry_run:
            return outcome
        if row:
            row.write()
            _record(rollout, request, row)
        if request.action == Action.EMERGENCY:
            _stop_with_it(request)
        transaction.on_commit(forget_state)
        return replace(outcome, revision=rollout.revision)


@dataclass(frozen=True, slots=True)
class _Row:
    """What an audit row keeps, and how to write what it is about."""

    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    write: Callable[[], object] = lambda: None


def _plan_change(rollout: Rollout, request: ChangeRequest) -> tuple[ChangeResult, _Row | None]:
    """Return what the request changes of this rollout, and the audit row with it; None where there is nothing to do."""
    rules.refuse_stale(request.expected_revision, rollout.revision)
    before = RolloutSettings.read(rollout)
    after = deepcopy(before)
    if edit := _EDITS.get(request.action):
        edit(after, request)
        is_change = before != after
        row = _Row(before.as_json(), after.as_json(), lambda: _write(rollout, before, after)) if is_change else None
    else:
        row = _ROWS[request.action](rollout, before, request)
    return ChangeResult(before, after, rollout.revision, request.is_dry_run), row


def _write(rollout: Rollout, before: RolloutSettings, after: RolloutSettings) -> None:
    for name, percent in after.percents.items():
        if percent != before.percents[name] or after.everyone.get(name) != before.everyone.get(name):
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


def _record(rollout: Rollout, request: ChangeRequest, row: _Row) -> None:
    """Count the rollout's revision up and leave the audit row."""
    if request.is_of_rollout:
        rollout.revision += 1
        rollout.revised_at = Now()
        rollout.save()
    _leave_row(request.recorded_action, request, rollout.revision, row)
    # Within this transaction too: whoever decides next in it, decides by what was just written.
    forget_state()


def _leave_row(action: Action, request: ChangeRequest, revision: int, row: _Row) -> None:
    reason, sentence = to_columns(request.reason, REASON_LENGTH)
    Change.objects.create(
        by=request.by,
        action=action,
        reason=reason,
        sentence=sentence,
        revision=revision,
        before=row.before,
        after=row.after,
        evidence=request.evidence,
        is_forced=request.is_forced,
    )


def _latch(request: ChangeRequest) -> None:
    """Latch the emergency stop without the rollout's row, which somebody keeps: the direct API answers from now on.

    The revision stays, because nobody else may count it; the emergency that follows finds the latch.
    """
    with transaction_with_lock_timeout(_LATCH_PATIENCE_MS):
        Switch.objects.update_or_create(name=EMERGENCY_STOP, defaults={"active": True})
        _leave_row(Action.LATCH, request, Rollout.current().revision, _Row())
        transaction.on_commit(forget_state)


def _stop_with_it(request: ChangeRequest) -> None:
    """Cancel the planned steps and have the rest stopped; one that fires just now is refused as stale."""
    planned = Plan.objects.filter(state=PlanState.PLANNED).select_for_update(skip_locked=True)
    outcome, sentence = to_columns(Message("Cancelled by an emergency rollback"), REASON_LENGTH)
    Plan.objects.filter(pk__in=[plan.pk for plan in planned]).update(
        state=PlanState.DROPPED, outcome=outcome, sentence=sentence
    )
    emergency_stopped.send(ChangeRequest, request=request)


# What each action does to the controls.


def _set_percent(controls: RolloutSettings, request: ChangeRequest) -> None:
    """Set one phase; deeper phases are lowered with it. waffle's override stays only where it is given once more."""
    was_for_everyone = controls.everyone.pop(request.phase, None)
    if request.everyone and not was_for_everyone:
        controls.refuse_raise()
    if request.everyone is not None:
        controls.everyone[request.phase] = request.everyone
    controls.percents = controls.percents_after(request.phase, request.percent)


def _roll_back_step(controls: RolloutSettings, request: ChangeRequest) -> None:
    """Lower a phase by one step and hold it there until somebody resumes."""
    lower = rules.step_before(controls.percents[request.phase])
    controls.percents = rules.settled(controls.percents, request.phase, lower)
    controls.held_for = request.reason


def _turn_switch(controls: RolloutSettings, request: ChangeRequest) -> None:
    if request.switch == EMERGENCY_STOP:
        # To turn it off is for a resume alone.
        if controls.is_latched:
            controls.refuse_raise()
        return
    if request.is_on and request.switch == "webhook_processing" and controls.is_latched:
        controls.refuse_raise()
    controls.switches[request.switch] = request.is_on


def _pause(controls: RolloutSettings, request: ChangeRequest) -> None:
    """Stop advances, plans and automatic steps; the percentages stay."""
    controls.held_for = controls.held_for or request.reason


def _resume(controls: RolloutSettings, request: ChangeRequest) -> None:
    """Clear the latch, or the pause. After an emergency phase 3 starts at 1 % once more, with the same cohort."""
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


def _stop(controls: RolloutSettings, request: ChangeRequest) -> None:
    """Let the direct API answer for everyone, collect nothing, and remember what was on."""
    if not controls.is_latched or not controls.remembered:
        controls.remembered = {name: rules.format_percent(percent) for name, percent in controls.percents.items()}
    controls.percents = dict.fromkeys(PHASES, Decimal(0))
    controls.everyone = {}
    controls.switches |= {EMERGENCY_STOP: True, "webhook_processing": False}


def _choose_on_breach(controls: RolloutSettings, request: ChangeRequest) -> None:
    controls.on_breach = request.on_breach


_EDITS: dict[Action, Callable[[RolloutSettings, ChangeRequest], None]] = {
    Action.SET: _set_percent,
    Action.ADVANCE: _set_percent,
    Action.ROLL_BACK: _roll_back_step,
    Action.SWITCH: _turn_switch,
    Action.PAUSE: _pause,
    Action.RESUME: _resume,
    Action.EMERGENCY: _stop,
    Action.ON_BREACH: _choose_on_breach,
}


# What each action does that changes none of the controls.


def _rule(rollout: Rollout, controls: RolloutSettings, request: ChangeRequest) -> _Row:
    """Let a university into a phase or keep it out, or remove such a rule."""
    scope, rule = request.rule, rule_as_json(request.rule)
    if not request.is_on:
        return _Row(before=rule, write=scope.delete)
    if scope.expires_at and scope.expires_at <= timezone.now():
        raise ChangeRefused(Message("The rule would be over before it begins"))
    scope.reason = str(request.reason)
    return _Row(after=rule, write=scope.save)


def _plan(rollout: Rollout, controls: RolloutSettings, request: ChangeRequest) -> _Row:
    """Plan a step for later, for the rollout as it is at this revision."""
    controls.percents_after(request.phase, request.percent)
    step = {"phase": rules.phase_number(request.phase), "percent": request.percent, "due_at": request.due_at}
    if Plan.objects.filter(state=PlanState.PLANNED, **step).exists():
        raise ChangeRefused(Message("This step is planned already"))
    plan = Plan(revision=rollout.revision, by=request.by, reason=str(request.reason), **step)
    return _Row(after=plan_as_json(plan), write=plan.save)


def _cancel(rollout: Rollout, controls: RolloutSettings, request: ChangeRequest) -> _Row:
    """Drop a step that is still planned."""
    plan = Plan.objects.select_for_update().filter(pk=request.plan, state=PlanState.PLANNED).first()
    if plan is None:
        raise ChangeRefused(Message("This step is not planned any more."))
    plan.state = PlanState.DROPPED
    by = Message("Cancelled by %(by)s", {"by": request.by})
    plan.outcome, plan.sentence = to_columns(by, REASON_LENGTH)
    return _Row(before=plan_as_json(plan), write=plan.save)


def _set_flag(rollout: Rollout, controls: RolloutSettings, request: ChangeRequest) -> _Row | None:
    """Set the percentage of a flag that is no phase; what code saves is saved by ``Flag.save()`` itself."""
    flag = request.flag
    was = Flag.objects.filter(pk=flag.pk).first()
    before, after = flag_as_json(was, was.percent) if was else {}, flag_as_json(flag, request.percent)
    if before == after:
        return None

    def write() -> None:
        flag.percent = request.percent
        if request.source != Source.CODE:
            super(Flag, flag).save()

    return _Row(before, after, write)


_ROWS: dict[Action, Callable[[Rollout, RolloutSettings, ChangeRequest], _Row | None]] = {
    Action.SCOPE: _rule,
    Action.PLAN: _plan,
    Action.CANCEL: _cancel,
    Action.FLAG: _set_flag,
    # Whoever asks deletes it.
    Action.DELETE: lambda _rollout, _controls, request: _Row(flag_as_json(request.flag, request.flag.percent)),
    Action.REHEARSAL: lambda _rollout, _controls, request: _Row(after=request.facts),
    Action.SCHEMA: lambda _rollout, _controls, request: _Row(after=request.facts),
}


# What code, a shell or Django's own pages do to a flag.


@receiver(flag_saving)
def _apply_save(flag: Flag, **_: Any) -> None:
    """Apply what ``Flag.save()`` is about to write; no gate is asked."""
    rules.refuse_own_salt(flag)
    request = ChangeRequest.of(
        Action.SET if flag.name in PHASES else Action.FLAG,
        Source.CODE,
        by=flag.change_by or "code",
        reason=flag.change_reason or Message("Saved by code, without a reason"),
        phase=flag.name,
        percent=flag.percent,
        everyone=flag.everyone,
        flag=flag,
    )
    is_change = apply(request).is_change
    flag.percent = request.percent
    if is_change:
        flag.moved_at = timezone.now()


@receiver(flag_deleting)
def _apply_deletion(flag: Flag, **_: Any) -> None:
    reason = flag.change_reason or Message("Deleted without a reason")
    apply(ChangeRequest.of(Action.DELETE, Source.CODE, by=flag.change_by or "code", reason=reason, flag=flag))
