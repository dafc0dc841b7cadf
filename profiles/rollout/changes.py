"""The one way to change the rollout, for the admin, the commands, the API, ``Flag.save()``, plans and the controller.

Each surface makes a ChangeRequest from its input and calls ``apply``, which locks the rollout's one row, enforces the
rules, increments the revision and writes one audit row.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now
from django.dispatch import Signal, receiver
from django.utils import timezone
from waffle.models import Switch

from config.lib.messages import Message
from profiles.rollout import rules
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.decision import forget_state
from profiles.rollout.lock import Busy, locked_rollout, transaction_with_lock_timeout
from profiles.rollout.models import Action, Change, Flag, Plan, PlanState, Rollout, flag_deleting, flag_saving
from profiles.rollout.phases import EMERGENCY_STOP, PHASES
from profiles.rollout.rollout_settings import ChangeResult, RolloutSettings
from profiles.rollout.rules import ChangeRefused

RESUMED_PERCENT = Decimal(1)
# In the audit, saves by code and planned steps have actions of their own.
_RECORDED = {
    (Source.CODE, Action.SET): Action.SAVE,
    (Source.CODE, Action.FLAG): Action.SAVE,
    (Source.SCHEDULE, Action.SET): Action.SCHEDULE,
}
_LATCH_LOCK_TIMEOUT_MS = 500

# Sent with its ``request`` in the transaction of an emergency stop, for other work to stop as well.
emergency_stopped = Signal()


class GatesNotPassed(ChangeRefused):
    """A raise that the gates do not allow."""


class Latched(Busy):
    """The emergency stop is latched, but a locked rollout prevented the rest."""


# Takes a phase number, the current and the target percentage; returns the gate results and, if they fail, why.
GateCheck = Callable[[int, Decimal, Decimal], tuple[list[dict[str, Any]], Message | None]]
_gate_checks: list[GateCheck] = []


def register_gates(check: GateCheck) -> None:
    """Set the check for raises. The gates are a layer above this package, so they register when Django starts."""
    _gate_checks[:] = [check]


def apply(request: ChangeRequest) -> ChangeResult:
    """Apply the request and return what changed; a dry run writes nothing and returns what would change.

    Raises ChangeRefused for what the rules refuse, GatesNotPassed, Busy when another transaction holds the rollout,
    and Latched when an emergency could only latch because of that.
    """
    try:
        return _apply(_check_gates(_resolve_advance(request)))
    except Busy as busy:
        if request.action != Action.EMERGENCY or request.is_dry_run:
            raise
        # Without the rollout's row: the latch alone turns the cache off. The revision stays, since only the holder of
        # the row may count it, and the repeated emergency finds the latch.
        with transaction_with_lock_timeout(_LATCH_LOCK_TIMEOUT_MS):
            Switch.objects.update_or_create(name=EMERGENCY_STOP, defaults={"active": True})
            _write_audit_row(Action.LATCH, request, Rollout.current(), _Edit())
            transaction.on_commit(forget_state)
        message = Message(
            "Latched: all names come from the direct API. The percentages are unchanged: repeat the stop. %(busy)s",
            {"busy": busy.text},
        )
        raise Latched(message) from None


def preview(request: ChangeRequest) -> ChangeResult:
    """Return what the request would change, without asking the gates; raise ChangeRefused as ``apply`` does."""
    return _edit(Rollout.current(), replace(_resolve_advance(request), is_dry_run=True))[0]


def next_phase() -> str:
    percents = dict(Flag.objects.filter(name__in=PHASES).values_list("name", "percent"))
    return next((name for name in PHASES if percents.get(name, Decimal(0)) < 100), PHASES[-1])


def _resolve_advance(request: ChangeRequest) -> ChangeRequest:
    """Turn an advance into a step to a percentage, valid only at the revision at which the phase was read.

    After another change it might be a step back, for which no gate is asked.
    """
    if request.action != Action.ADVANCE:
        return request
    revision = Rollout.current().revision
    name = request.phase or next_phase()
    flag = Flag.objects.filter(name=name).first()
    step = rules.step_after(name, flag.percent if flag else Decimal(0))
    if step is None:
        raise ChangeRefused(Message("Phase %(phase)d is already at 100%%.", {"phase": rules.phase_number(name)}))
    expected = revision if request.expected_revision is None else request.expected_revision
    return replace(request, phase=name, percent=step, expected_revision=expected)


def _check_gates(request: ChangeRequest) -> ChangeRequest:
    """Return the request with the gate results, or raise GatesNotPassed; changes by code pass without gates.

    Any further approval of a raise belongs here.
    """
    if request.action not in (Action.SET, Action.ADVANCE) or request.source == Source.CODE:
        return request
    # The rules first: they are cheap, and the gates are asked only about changes that may be.
    planned = _apply(replace(request, is_dry_run=True))
    current, target = planned.before.percents[request.phase], request.percent
    if target <= current:
        return replace(request, is_forced=False)
    [check] = _gate_checks
    evidence, refusal = check(rules.phase_number(request.phase), current, target)
    if refusal and not request.is_forced:
        raise GatesNotPassed(refusal)
    return replace(request, evidence=evidence, is_forced=bool(refusal), expected_revision=planned.revision)


def _apply(request: ChangeRequest) -> ChangeResult:
    needs_lock = request.is_of_rollout or request.action == Action.PLAN
    opened: AbstractContextManager[Rollout] = locked_rollout() if needs_lock else nullcontext(Rollout.current())
    with opened as rollout, transaction.atomic():
        result, edit = _edit(rollout, request)
        if request.is_dry_run:
            return result
        if edit:
            edit.write()
            if request.is_of_rollout:
                rollout.revision += 1
                rollout.revised_at = Now()
                rollout.save()
            _write_audit_row(_RECORDED.get((request.source, request.action), request.action), request, rollout, edit)
            # Decisions later in this transaction follow the change too.
            forget_state()
        if request.action == Action.EMERGENCY:
            # A plan that is locked is being carried out: it will be refused as stale.
            for plan in Plan.objects.filter(state=PlanState.PLANNED).select_for_update(skip_locked=True):
                plan.drop(Message("Cancelled by an emergency rollback"))
                plan.save()
            emergency_stopped.send(ChangeRequest, request=request)
        transaction.on_commit(forget_state)
        return replace(result, revision=rollout.revision)


@dataclass(frozen=True, slots=True)
class _Edit:
    """The old and new values of an audit row, and the function that writes the new ones."""

    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    write: Callable[[], object] = lambda: None


def _edit(rollout: Rollout, request: ChangeRequest) -> tuple[ChangeResult, _Edit | None]:
    """Return what the request changes, and the edit that does it; None when nothing changes."""
    rules.refuse_stale(request.expected_revision, rollout.revision)
    before = RolloutSettings.read(rollout)
    after = deepcopy(before)
    edit: _Edit | None = None
    if change_settings := _OF_SETTINGS.get(request.action):
        change_settings(after, request)
        if before != after:
            edit = _Edit(before.as_json(), after.as_json(), lambda: _write_settings(rollout, before, after))
    else:
        edit = _OF_ROWS[request.action](rollout, before, request)
    return ChangeResult(before, after, rollout.revision, request.is_dry_run), edit


def _write_settings(rollout: Rollout, before: RolloutSettings, after: RolloutSettings) -> None:
    for name, percent in after.percents.items():
        if percent != before.percents[name] or after.everyone.get(name) != before.everyone.get(name):
            Flag.objects.filter(name=name).update(
                percent=percent, everyone=after.everyone.get(name), moved_at=timezone.now(), modified=timezone.now()
            )
    if before.is_latched and not after.is_latched:
        # A trigger lets only such a transaction clear the latch.
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('rollout.resuming', 'on', true)")
    for name, is_active in after.switches.items():
        if is_active != before.switches.get(name):
            Switch.objects.update_or_create(name=name, defaults={"active": is_active})
    rollout.is_paused, rollout.held = bool(after.held_for), after.held_for
    rollout.on_breach, rollout.remembered = after.on_breach, after.remembered


def _write_audit_row(action: Action, request: ChangeRequest, rollout: Rollout, edit: _Edit) -> None:
    row = Change(by=request.by, action=action, revision=rollout.revision, before=edit.before, after=edit.after)
    row.evidence, row.is_forced = request.evidence, request.is_forced
    row.text = request.reason
    row.save()


# Actions that change settings.


def _set_percent(settings: RolloutSettings, request: ChangeRequest) -> None:
    """Set one phase; waffle's override of it stays only where the request repeats it."""
    was_for_everyone = settings.everyone.pop(request.phase, None)
    if request.everyone and not was_for_everyone:
        settings.refuse_raise()
    if request.everyone is not None:
        settings.everyone[request.phase] = request.everyone
    settings.percents = settings.percents_after(request.phase, request.percent)


def _roll_back_step(settings: RolloutSettings, request: ChangeRequest) -> None:
    current = settings.percents[request.phase]
    lower = max((step for step in rules.STEPS if step < current), default=Decimal(0))
    settings.percents = rules.set_phase(settings.percents, request.phase, lower)
    settings.held_for = request.reason


def _turn_switch(settings: RolloutSettings, request: ChangeRequest) -> None:
    # Under the latch only a resume turns the emergency stop off and processing on.
    turns_processing_on = request.switch == "webhook_processing" and request.is_on
    if settings.is_latched and (request.switch == EMERGENCY_STOP or turns_processing_on):
        settings.refuse_raise()
    if request.switch != EMERGENCY_STOP:
        settings.switches[request.switch] = request.is_on


def _pause(settings: RolloutSettings, request: ChangeRequest) -> None:
    settings.held_for = settings.held_for or request.reason


def _resume(settings: RolloutSettings, request: ChangeRequest) -> None:
    """Clear the pause, and the latch: then phase 3 starts again at 1%, with the same cohort."""
    settings.held_for = ""
    if not settings.is_latched:
        return
    was = settings.percents | {name: Decimal(percent) for name, percent in settings.remembered.items()}
    # Never more than before the emergency.
    settings.percents = was | {PHASES[2]: min(was[PHASES[2]], RESUMED_PERCENT), PHASES[3]: Decimal(0)}
    settings.switches |= {EMERGENCY_STOP: False, "webhook_processing": True}
    settings.remembered = {}


def _stop(settings: RolloutSettings, request: ChangeRequest) -> None:
    """Latch the emergency stop, set all phases to 0 and remember their percentages."""
    if not settings.is_latched or not settings.remembered:
        settings.remembered = {name: rules.format_percent(percent) for name, percent in settings.percents.items()}
    settings.percents = dict.fromkeys(PHASES, Decimal(0))
    settings.everyone = {}
    settings.switches |= {EMERGENCY_STOP: True, "webhook_processing": False}


def _set_on_breach(settings: RolloutSettings, request: ChangeRequest) -> None:
    settings.on_breach = request.on_breach


_OF_SETTINGS: dict[Action, Callable[[RolloutSettings, ChangeRequest], None]] = {
    Action.SET: _set_percent,
    Action.ADVANCE: _set_percent,
    Action.ROLL_BACK: _roll_back_step,
    Action.SWITCH: _turn_switch,
    Action.PAUSE: _pause,
    Action.RESUME: _resume,
    Action.EMERGENCY: _stop,
    Action.ON_BREACH: _set_on_breach,
}


# Actions that change a row of their own.


def _change_rule(rollout: Rollout, settings: RolloutSettings, request: ChangeRequest) -> _Edit:
    rule = request.rule
    expires_at = rule.expires_at.isoformat() if rule.expires_at else None
    json = {"university": rule.university_id, "phase": rule.phase, "allowed": rule.is_allowed, "expires_at": expires_at}
    if not request.is_on:
        return _Edit(before=json, write=rule.delete)
    if rule.expires_at and rule.expires_at <= timezone.now():
        raise ChangeRefused(Message("The rule would already have expired: choose a later date."))
    rule.reason = str(request.reason)
    return _Edit(after=json, write=rule.save)


def _plan_as_json(plan: Plan) -> dict[str, Any]:
    percent = rules.format_percent(plan.percent)
    return {"phase": plan.phase, "percent": percent, "due_at": plan.due_at.isoformat()}


def _plan(rollout: Rollout, settings: RolloutSettings, request: ChangeRequest) -> _Edit:
    settings.percents_after(request.phase, request.percent)
    step = {"phase": rules.phase_number(request.phase), "percent": request.percent, "due_at": request.due_at}
    if Plan.objects.filter(state=PlanState.PLANNED, **step).exists():
        raise ChangeRefused(Message("This step is already planned."))
    plan = Plan(revision=rollout.revision, by=request.by, reason=str(request.reason), **step)
    return _Edit(after=_plan_as_json(plan), write=plan.save)


def _cancel(rollout: Rollout, settings: RolloutSettings, request: ChangeRequest) -> _Edit:
    plan = Plan.objects.select_for_update().filter(pk=request.plan, state=PlanState.PLANNED).first()
    if plan is None:
        raise ChangeRefused(Message("This step is no longer planned."))
    plan.drop(Message("Cancelled by %(by)s", {"by": request.by}))
    return _Edit(before=_plan_as_json(plan), write=plan.save)


def _flag_as_json(flag: Flag, percent: Decimal) -> dict[str, Any]:
    everyone = {} if flag.everyone is None else {"everyone": {flag.name: flag.everyone}}
    return {"percents": {flag.name: rules.format_percent(percent)}} | everyone


def _set_flag(rollout: Rollout, settings: RolloutSettings, request: ChangeRequest) -> _Edit | None:
    """Set the percentage of a flag that is not a phase; ``Flag.save()`` writes a flag that code saves."""
    flag = request.flag
    was = Flag.objects.filter(pk=flag.pk).first()
    before, after = _flag_as_json(was, was.percent) if was else {}, _flag_as_json(flag, request.percent)
    if before == after:
        return None

    def write() -> None:
        flag.percent = request.percent
        if request.source != Source.CODE:
            super(Flag, flag).save()

    return _Edit(before, after, write)


_OF_ROWS: dict[Action, Callable[[Rollout, RolloutSettings, ChangeRequest], _Edit | None]] = {
    Action.SCOPE: _change_rule,
    Action.PLAN: _plan,
    Action.CANCEL: _cancel,
    Action.FLAG: _set_flag,
    # The caller deletes the flag.
    Action.DELETE: lambda _rollout, _settings, request: _Edit(_flag_as_json(request.flag, request.flag.percent)),
    Action.REHEARSAL: lambda _rollout, _settings, request: _Edit(after=request.facts),
    Action.SCHEMA: lambda _rollout, _settings, request: _Edit(after=request.facts),
}


@receiver(flag_saving)
def _apply_save(flag: Flag, **_: Any) -> None:
    """Enforce the rollout rules and write the audit row when code saves a flag; no gate is asked."""
    if flag.name in PHASES and Flag.objects.filter(name__in=PHASES).exclude(salt=flag.salt).exists():
        # Cohorts are nested only within one salt.
        raise ChangeRefused(Message("All phases share one salt: another one would reassign the employees."))
    request = ChangeRequest.of(
        Action.SET if flag.name in PHASES else Action.FLAG,
        Source.CODE,
        by=flag.change_by or "code",
        reason=flag.change_reason or Message("Saved by code without a reason"),
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
