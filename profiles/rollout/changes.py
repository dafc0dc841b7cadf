"""The only code that changes the rollout, used by the admin, commands, API, ``Flag.save()``, plans and controller.

Each caller creates a ChangeRequest from its input and calls ``apply``, which locks the single row of the rollout,
enforces the rules, increments the revision and writes one audit row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Model
from django.db.models.functions import Now
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete
from django.dispatch import Signal, receiver
from django.utils import timezone
from waffle.models import Switch

from config.lib.messages import Message, Text
from profiles.rollout import approvals, plans, rules, standby
from profiles.rollout.approvals import ApprovalNeeded
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.decision import forget_changed_state
from profiles.rollout.lock import Busy, change_transaction, transaction_with_lock_timeout
from profiles.rollout.models import (
    Action,
    Approval,
    ApprovalState,
    Change,
    Flag,
    Plan,
    PlanState,
    Rollout,
    UniversityRule,
    flag_saving,
)
from profiles.rollout.phases import BUCKETED, EMERGENCY_STOP, PHASES
from profiles.rollout.rollout_settings import ChangeResult, RolloutSettings
from profiles.rollout.rules import ChangeRefused, OutsideUniversity

RESUMED_PERCENT = Decimal(1)
# The audit log records saves by code and planned steps as separate actions.
_RECORDED = {
    (Source.CODE, Action.SET): Action.SAVE,
    (Source.CODE, Action.FLAG): Action.SAVE,
    (Source.SCHEDULE, Action.SET): Action.SCHEDULE,
}
_LATCH_LOCK_TIMEOUT_MS = 500

# Sent with ``request`` in the transaction of an emergency stop, so that receivers can stop other work.
emergency_stopped = Signal()


class GatesNotPassed(ChangeRefused):
    """Raised when the gates do not allow an increase."""


class Latched(Busy):
    """Raised when an emergency stop has set its latch, but not the percentages, because the rollout's row is locked."""


# Takes a phase number, its current and its target percentage; returns the gate results and, if they do not pass, why.
GateCheck = Callable[[int, Decimal, Decimal], tuple[list[dict[str, Any]], Message | None]]
_gate_checks: list[GateCheck] = []


def register_gates(check: GateCheck) -> None:
    """Set the function that checks gates before an increase; the monitoring app, which has the gates, calls this."""
    _gate_checks[:] = [check]


def apply(request: ChangeRequest) -> ChangeResult:
    """Apply the request and return what changed; a dry run writes nothing and returns what would change.

    Raise ChangeRefused if the rules forbid the change, GatesNotPassed if the gates do, and ApprovalNeeded if a second
    person has to approve it. Raise Busy if another transaction holds the rollout's lock too long, and Latched if an
    emergency stop could set only its latch because of that lock.
    """
    try:
        return standby.confirmed(_apply(_check_gates(_resolve_advance(request))), request)
    except ApprovalNeeded as needed:
        needed.store()
        raise
    except Busy as busy:
        if request.action != Action.EMERGENCY or request.is_dry_run:
            raise
        # Set only the latch, which turns the cache off and needs no lock on the rollout's row. The revision stays the
        # same, since incrementing it needs that lock; a repeated emergency stop does the rest.
        with transaction_with_lock_timeout(_LATCH_LOCK_TIMEOUT_MS):
            standby.limit_commit_of(request)
            Switch.objects.update_or_create(name=EMERGENCY_STOP, defaults={"active": True})
            _write_audit_row(Action.LATCH, request, Rollout.current(), _Edit())
        message = Message(
            "Stopped: names come from the direct API. The percentages could not be set to 0: repeat the stop. %(busy)s",
            {"busy": busy.text},
        )
        raise Latched(standby.with_note(message)) from None


def preview(request: ChangeRequest) -> ChangeResult:
    """Return what the request would change, without checking the gates; raise ChangeRefused as ``apply`` does."""
    request = replace(_resolve_advance(request), is_dry_run=True)
    result = _edit(Rollout.current(), request)[0]
    return replace(result, needs_approval=approvals.needs_approval(request, result))


def next_phase() -> str:
    percents = dict(Flag.objects.filter(name__in=PHASES).values_list("name", "percent"))
    return next((name for name in PHASES if percents.get(name, Decimal(0)) < 100), PHASES[-1])


def _resolve_advance(request: ChangeRequest) -> ChangeRequest:
    """Return an advance with its phase and next percentage filled in; return any other request unchanged.

    The advance is valid only for the revision at which the percentage was read: after another change, the same
    percentage might be a decrease, for which no gates are checked.
    """
    # An advance that waited for approval goes to the percentage that was requested.
    if request.action != Action.ADVANCE or request.percent:
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
    """Return the request with its gate results; raise GatesNotPassed unless they pass or the request is forced.

    Decreases and changes by code need no gates.
    """
    if request.action not in (Action.SET, Action.ADVANCE) or request.source == Source.CODE:
        return request
    # Apply the rules first: they are cheap, and a change that they refuse needs no gate check.
    planned = _apply(replace(request, is_dry_run=True))
    is_off = planned.before.everyone.get(request.phase) is False
    current, target = Decimal(0) if is_off else planned.before.percents[request.phase], request.percent
    if target <= current:
        return replace(request, is_forced=False)
    [check] = _gate_checks
    evidence, refusal = check(rules.phase_number(request.phase), current, target)
    if refusal and not request.is_forced:
        raise GatesNotPassed(refusal)
    return replace(request, evidence=evidence, is_forced=bool(refusal), expected_revision=planned.revision)


def _apply(request: ChangeRequest) -> ChangeResult:
    refuse_outside_university(request)
    needs_lock = request.is_of_rollout or request.action == Action.PLAN
    with change_transaction():
        rollout = Rollout.locked() if needs_lock else Rollout.current()
        result, edit = _edit(rollout, request)
        waits = edit is not None and approvals.needs_approval(request, result)
        if request.is_dry_run:
            return replace(result, needs_approval=waits)
        if edit and waits:
            raise ApprovalNeeded(approvals.approval_of(request, edit.before, edit.after, rollout.revision))
        standby.limit_commit_of(request)
        if edit:
            with approvals.judged():
                edit.write()
            if request.is_of_rollout:
                rollout.revision += 1
                rollout.revised_at = Now()
                rollout.save()
            _write_audit_row(_RECORDED.get((request.source, request.action), request.action), request, rollout, edit)
        # Later decisions in this transaction must already follow the change.
        forget_changed_state()
        if request.action == Action.EMERGENCY:
            # Locked rows are skipped: their steps are being taken, and will fail because they expect the old revision.
            why = Message("Cancelled by an emergency stop")
            for plan in Plan.objects.open().select_for_update(skip_locked=True):
                plan.conclude(PlanState.DROPPED, why)
            for approval in Approval.objects.waiting().select_for_update(skip_locked=True):
                approval.conclude(ApprovalState.WITHDRAWN, request.by, str(request.reason))
            emergency_stopped.send(ChangeRequest, request=request)
        return replace(result, revision=rollout.revision)


@dataclass(frozen=True, slots=True)
class _Edit:
    """The old and new values for the audit row, and the function that writes the new values to the database."""

    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    write: Callable[[], object] = lambda: None


def _edit(rollout: Rollout, request: ChangeRequest) -> tuple[ChangeResult, _Edit | None]:
    """Return the settings before and after the request, and the edit to write; the edit is None if nothing changes."""
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


def refuse_outside_university(request: ChangeRequest) -> None:
    """Raise OutsideUniversity if a change other than an emergency stop is outside the author's universities."""
    if request.universities is None or request.action == Action.EMERGENCY:
        return
    concerned = {request.facts.get("university")} if request.action == Action.REHEARSAL else {None}
    if request.action == Action.SCOPE:
        stored = UniversityRule.objects.filter(pk=request.rule.pk).values_list("university_id", flat=True)
        concerned = {request.rule.university_id, *stored}
    if not concerned <= set(request.universities):
        raise OutsideUniversity(
            Message("Your account is limited to one university: you can change only its rules, not the whole rollout.")
        )


def _write_settings(rollout: Rollout, before: RolloutSettings, after: RolloutSettings) -> None:
    for name, percent in after.percents.items():
        if percent != before.percents[name] or after.everyone.get(name) != before.everyone.get(name):
            Flag.objects.filter(name=name).update(
                percent=percent, everyone=after.everyone.get(name), moved_at=timezone.now(), modified=timezone.now()
            )
    if before.is_latched and not after.is_latched:
        # A trigger allows the latch to be cleared only in a transaction that sets this variable.
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
    if request.approval:
        row.approved_by, row.approval_reason = request.approval.name, request.approval.reason
    row.save()


# Actions that change settings.


def _set_percent(settings: RolloutSettings, request: ChangeRequest) -> None:
    """Set the percentage of a phase and its ``everyone`` override, which is cleared if the request has none."""
    was_for_everyone = settings.everyone.pop(request.phase, None)
    ends_off = was_for_everyone is False and request.everyone is None and request.percent > 0
    if ends_off or (request.everyone and not was_for_everyone):
        settings.refuse_raise()
    if request.everyone is not None:
        settings.everyone[request.phase] = request.everyone
    settings.percents = settings.percents_after(request.phase, request.percent)


def _roll_back_step(settings: RolloutSettings, request: ChangeRequest) -> None:
    current = settings.percents[request.phase]
    settings.percents = rules.set_phase(settings.percents, request.phase, rules.step_before(current))
    settings.held_for = request.reason


def _turn_switch(settings: RolloutSettings, request: ChangeRequest) -> None:
    # While the emergency stop is latched, only a resume can clear it or turn processing on.
    turns_processing_on = request.switch == "webhook_processing" and request.is_on
    if settings.is_latched and (request.switch == EMERGENCY_STOP or turns_processing_on):
        settings.refuse_raise()
    if request.switch != EMERGENCY_STOP:
        settings.switches[request.switch] = request.is_on


def _pause(settings: RolloutSettings, request: ChangeRequest) -> None:
    settings.held_for = settings.held_for or request.reason


def _resume(settings: RolloutSettings, request: ChangeRequest) -> None:
    """End a pause or emergency stop. After a stop, restore the percentages, but limit phase 3 to 1%, phase 4 to 0."""
    settings.held_for = ""
    if not settings.is_latched:
        return
    was = settings.percents | {name: Decimal(percent) for name, percent in settings.remembered.items()}
    # Never give phase 3 a higher percentage than before the emergency.
    settings.percents = was | {PHASES[2]: min(was[PHASES[2]], RESUMED_PERCENT), PHASES[3]: Decimal(0)}
    settings.switches |= {EMERGENCY_STOP: False, "webhook_processing": True}
    settings.remembered = {}


def _stop(settings: RolloutSettings, request: ChangeRequest) -> None:
    """Latch the emergency stop, store the percentages for a resume, set all phases to 0 and turn processing off."""
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


# Actions that change rules, plans or other flags, or that only write an audit row.


def _change_rule(rollout: Rollout, settings: RolloutSettings, request: ChangeRequest) -> _Edit:
    rule = request.rule
    # A rehearsal, which has facts, removes its own denial even if the rollout has been paused since the denial.
    if not request.facts and approvals.lets_more_in(rule, is_kept=request.is_on):
        settings.refuse_raise()
    expires_at = rule.expires_at.isoformat() if rule.expires_at else None
    json = {"university": rule.university_id, "phase": rule.phase, "allowed": rule.is_allowed, "expires_at": expires_at}
    if not request.is_on:
        return _Edit(before=json, write=rule.delete)
    if rule.expires_at and rule.expires_at <= timezone.now():
        raise ChangeRefused(Message("The rule's expiry is in the past: choose a later date."))
    rule.reason = str(request.reason)
    return _Edit(after=json, write=rule.save)


def _plan(rollout: Rollout, settings: RolloutSettings, request: ChangeRequest) -> _Edit:
    for percent, _due_at in request.steps:
        settings.percents_after(request.phase, percent)
    steps = plans.steps_of(request, rollout.revision)
    first = {name: getattr(steps[0], name) for name in ("phase", "percent", "due_at")}
    if Plan.objects.filter(state=PlanState.PLANNED, **first).exists():
        raise ChangeRefused(Message("This step is already planned."))
    return _Edit(after=plans.as_json(steps), write=lambda: plans.store(steps))


def _cancel(rollout: Rollout, settings: RolloutSettings, request: ChangeRequest) -> _Edit:
    step = Plan.objects.filter(pk=request.plan).first()
    plan = Plan.objects.of(step).open().select_for_update().first() if step else None
    if plan is None:
        raise ChangeRefused(Message("This step is no longer planned."))
    why = Message("Cancelled by %(by)s", {"by": request.by})
    return _Edit(before=plans.as_json(Plan.objects.of(plan).open()), write=lambda: plan.stop(why))


def _flag_as_json(flag: Flag, percent: Decimal | None, other: Flag | None = None) -> dict[str, Any]:
    """Return the flag's percentage, ``everyone`` and the criteria that differ from ``other`` (default: a new flag)."""
    json: dict[str, Any] = {"percents": {flag.name: rules.format_percent(percent or Decimal(0))}}
    if flag.everyone is not None:
        json["everyone"] = {flag.name: flag.everyone}
    values = {name: getattr(flag, name) for name in Flag.CRITERIA}
    if changed := {name: value for name, value in values.items() if value != getattr(other or Flag(), name)}:
        json["criteria"] = {
            f"{flag.name} {name}": value.replace(",", " ").split() if name == "languages" else value
            for name, value in changed.items()
        }
    return json


def _set_flag(rollout: Rollout, settings: RolloutSettings, request: ChangeRequest) -> _Edit | None:
    """Return the edit for a flag that is not a phase; None if nothing changes.

    The edit saves the flag only for a request from the admin's form; otherwise, ``Flag.save()`` saves it.
    """
    flag = request.flag
    if request.facts:
        return _Edit(**request.facts)
    was = Flag.objects.filter(pk=flag.pk).first()
    before = _flag_as_json(was, was.percent, flag) if was else {}
    after = _flag_as_json(flag, request.percent, was)
    if before == after:
        return None

    def write() -> None:
        flag.percent = request.percent
        if request.source == Source.FLAG_FORM:
            super(Flag, flag).save()

    return _Edit(before, after, write)


_OF_ROWS: dict[Action, Callable[[Rollout, RolloutSettings, ChangeRequest], _Edit | None]] = {
    Action.SCOPE: _change_rule,
    Action.PLAN: _plan,
    Action.CANCEL: _cancel,
    Action.FLAG: _set_flag,
    # Only the audit row is written here: the flag is being deleted.
    Action.DELETE: lambda _rollout, _settings, request: _Edit(_flag_as_json(request.flag, request.flag.percent)),
    Action.REHEARSAL: lambda _rollout, _settings, request: _Edit(after=request.facts),
    Action.SCHEMA: lambda _rollout, _settings, request: _Edit(after=request.facts),
}


# Code and waffle's commands may save and delete flags without a change request.

_command: ContextVar[tuple[str, Text] | None] = ContextVar("_command", default=None)


@contextmanager
def recorded_as_command(by: str, reason: Text) -> Iterator[None]:
    """Within the block, record saved and deleted flags as changed by a command of the user ``by``, not by code."""
    token = _command.set((by, reason))
    try:
        yield
    finally:
        _command.reset(token)


def _apply_to_flag(action: Action, flag: Flag, default_reason: Message, **params: Any) -> ChangeResult:
    by, reason = _command.get() or (flag.change_by or "code", flag.change_reason or default_reason)
    source = Source.COMMAND if _command.get() else Source.CODE
    return apply(ChangeRequest.of(action, source, by=by, reason=reason, flag=flag, **params))


@receiver(flag_saving)
def _apply_save(flag: Flag, **_: Any) -> None:
    """Enforce the rollout rules and write the audit row when a flag is saved, without checking the gates."""
    if flag.name in BUCKETED:
        _refuse_new_criteria(flag)
    if flag.name in PHASES and Flag.objects.filter(name__in=PHASES).exclude(salt=flag.salt).exists():
        # Cohorts are nested only if all phases have the same salt.
        raise ChangeRefused(Message("All phases share one salt: a different salt would include other employees."))
    action = Action.SET if flag.name in PHASES else Action.FLAG
    percent = rules.percentage(0 if flag.percent is None else flag.percent)
    params = {"phase": flag.name, "percent": percent, "everyone": flag.everyone}
    is_change = _apply_to_flag(action, flag, Message("Saved from code; no reason given"), **params).is_change
    # A flag that is not bucketed keeps waffle's None, which means 0.
    flag.percent = percent if percent or flag.name in BUCKETED else None
    if is_change:
        flag.moved_at = timezone.now()


def _refuse_new_criteria(flag: Flag) -> None:
    was = Flag.objects.filter(pk=flag.pk).first()
    if was is None:
        # Waffle's default is True, but the caller means a flag without this criterion.
        flag.superusers = False
    for name in Flag.CRITERIA:
        if getattr(flag, name) and getattr(flag, name) != getattr(was, name, None):
            rules.refuse_criterion(flag.name, name)


@receiver(pre_delete, sender=Flag)
def _apply_deletion(instance: Flag, **_: Any) -> None:
    """Record the deletion of a flag. If the flag is a phase, set it to 0% first, which also lowers the later phases."""
    reason = Message("Deleted; no reason given")
    if instance.name in PHASES:
        _apply_to_flag(Action.SET, instance, reason, phase=instance.name, percent=0)
    _apply_to_flag(Action.DELETE, instance, reason)


@receiver(m2m_changed, sender=Flag.users.through)
@receiver(m2m_changed, sender=Flag.groups.through)
def _apply_members(
    sender: type[Model],
    instance: Any,
    action: str,
    reverse: bool,
    model: Any,
    pk_set: set[int] | None,
    **_: Any,
) -> None:
    """Refuse users and groups for a flag that depends only on the phone; record the change for any other flag."""
    if action not in ("pre_add", "pre_remove", "pre_clear"):
        return
    field = "users" if sender is Flag.users.through else "groups"
    named = model.objects.filter(pk__in=pk_set or ())
    for flag in (instance.flag_set.all() if pk_set is None else named) if reverse else [instance]:
        if action == "pre_add":
            rules.refuse_criterion(flag.name, field)
        before = {str(member) for member in getattr(flag, field).all()}
        changed = {str(instance)} if reverse else before if pk_set is None else {str(member) for member in named}
        after = before | changed if action == "pre_add" else before - changed
        if before != after:
            facts = {
                key: {"criteria": {f"{flag.name} {field}": sorted(names)}}
                for key, names in (("before", before), ("after", after))
            }
            _apply_to_flag(Action.FLAG, flag, Message("Saved from code; no reason given"), percent=0, facts=facts)


@receiver([post_save, post_delete], sender=Flag)
@receiver([post_save, post_delete], sender=Switch)
def _forget_changed(**_: Any) -> None:
    forget_changed_state()
