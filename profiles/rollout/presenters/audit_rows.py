"""Texts for the audit rows of changes, and for the plans, rules and rehearsals that these rows record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib import times
from profiles.rollout.models import Action, Change, ChangeRecord, UniversityRule, university_name
from profiles.rollout.phases import EMERGENCY_STOP, PHASES
from profiles.rollout.presenters import SETTINGS, actor, moment, move, name_of, percentage, restart, value_of

T = gettext_lazy


def authors(row: Change) -> str:
    """Return who made a change and, if a second person had to approve it, who did."""
    if not row.approved_by:
        return actor(row.by)
    return _("%(by)s, approved by %(approver)s") % {"by": actor(row.by), "approver": actor(row.approved_by)}


def reasons(row: Change) -> str:
    return " / ".join(filter(None, (row.text, row.approval_reason)))


def change(row: ChangeRecord) -> str:
    """Return a one-line summary of an audit row, or of a change that waits for approval."""
    if row.action in _LINES:
        return _LINES[row.action](row)
    moves = [row.get_action_display()] if row.action in (Action.SEED, Action.EMERGENCY) else []
    for kind in ("percents", "switches", "everyone", "criteria"):
        before, after = row.before.get(kind, {}), row.after.get(kind, {})
        for name in sorted(after):
            earlier = before.get(name, "0" if name in PHASES else None)
            if name != EMERGENCY_STOP and earlier != after[name]:
                moves.append(move(name, earlier, after[name]))
    if row.before.get("held_for") != row.after.get("held_for"):
        moves.append(_("Paused") if row.after.get("held_for") else _("Resumed"))
    if row.action == Action.RESUME and isinstance(row, Change):
        moves.append(restart(row.at))
    if row.before.get("on_breach") != row.after.get("on_breach"):
        moves.append(move("on_breach", row.before.get("on_breach"), row.after.get("on_breach")))
    return "; ".join(moves) or row.get_action_display()


def _recorded_rule(row: ChangeRecord) -> str:
    rule = row.after or row.before
    scope = UniversityRule(university_id=rule["university"], phase=rule["phase"], is_allowed=rule["allowed"])
    return rule_change(scope, is_removed=not row.after)


def rule_change(rule: UniversityRule, *, is_removed: bool = False) -> str:
    if not is_removed:
        return str(rule)
    params = {"university": university_name(rule.university_id), "phase": rule.phase}
    return _("%(university)s follows the percentage of phase %(phase)d again") % params


def _recorded_plan(row: ChangeRecord) -> str:
    return f"{row.get_action_display()}: {plan(row.after or row.before)}"


def plan(stored: Mapping[str, Any]) -> str:
    """Return the steps of a plan in words, from the JSON of its audit row."""
    lines = [_stored_step(stored, step) for step in (stored, *stored.get("later", ()))]
    if "hours" in stored:
        lines.append(hours(*stored["hours"]))
    return "; ".join(lines)


def _stored_step(plan: Mapping[str, Any], step: Mapping[str, Any]) -> str:
    due_at, waits_for_gates = datetime.fromisoformat(step["due_at"]), bool(plan.get("waits_for_gates"))
    return planned_step(plan["phase"], step["percent"], due_at, waits_for_gates=waits_for_gates)


def planned_step(phase: int, percent: Decimal | str, due_at: datetime, *, waits_for_gates: bool = False) -> str:
    params = {"phase": phase, "percent": percentage(percent), "at": moment(due_at)}
    if waits_for_gates:
        return _("phase %(phase)d to %(percent)s when its gates pass, not before %(at)s") % params
    return _("phase %(phase)d to %(percent)s on %(at)s") % params


def hours(start: int, end: int) -> str:
    """Return the hours of a plan as text; they are in the site's time zone, not in the reader's."""
    params = {"start": f"{start}:00", "end": f"{end}:00", "zone": times.zone()}
    return _("only from %(start)s to %(end)s %(zone)s") % params


def _recorded_rehearsal(row: ChangeRecord) -> str:
    university = university_name(row.after["university"])
    is_timed = "total_s" in row.after
    return rehearsal(university, row.after) if is_timed else f"{row.get_action_display()}: {university}"


def rehearsal(university: object, facts: Mapping[str, Any]) -> str:
    params = {"university": university, "out": number_format(facts["out_s"], 1)}
    params["total"] = number_format(facts["total_s"], 1)
    return _("%(university)s: moved to the direct API after %(out)s s, back to the cache after %(total)s s") % params


_LINES: dict[str, Callable[[ChangeRecord], str]] = {
    Action.SCOPE: _recorded_rule,
    Action.PLAN: _recorded_plan,
    Action.CANCEL: _recorded_plan,
    Action.DELETE: lambda row: f"{row.get_action_display()}: {', '.join(map(name_of, row.before['percents']))}",
    Action.REHEARSAL: _recorded_rehearsal,
} | dict.fromkeys(
    (Action.BACKFILL_PAUSE, Action.BACKFILL_RESUME, Action.BACKFILL_RETRY, Action.BACKFILL_UNDO),
    lambda row: f"{row.get_action_display()}: {row.after['backfill']}",
)

# Keys in the audit rows of university rules, planned steps, rollback checks and emergency stops.
_FIELDS: dict[str, Promise] = {
    "backfill": T("backfill"),
    "university": T("university"),
    "phase": T("phase"),
    "percent": T("percent"),
    "due_at": T("due at"),
    "allowed": T("allowed"),
    "expires_at": T("expires at"),
    "waits_for_gates": T("wait for the gates"),
    "hours": T("hours"),
    "out_s": T("time until the direct API served the university, s"),
    "total_s": T("time until the cache served the university again, s"),
    "out": T("removed from the cache"),
    "back": T("returned to the cache"),
    "remembered": T("before the emergency stop"),
}


def recorded_state(state: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each value in ``state``, which is the ``before`` or ``after`` of an audit row."""
    for name, value in state.items():
        if name == "later":
            yield from (_stored_step(state, step) for step in value)
            continue
        if isinstance(value, dict):
            prefix = f"{_FIELDS[name]}: " if name == "remembered" else ""
            yield from (f"{prefix}{name_of(key)}: {value_of(key, one)}" for key, one in sorted(value.items()))
            continue
        yield f"{_FIELDS.get(name) or name_of(name)}: {_recorded_value(name, value)}"


def _recorded_value(name: str, value: Any) -> str:
    if name in SETTINGS or (name == "percent" and value is not None):
        return value_of(name, value)
    if value is None:
        return "—"
    if name == "hours":
        return hours(*value)
    if name in ("due_at", "expires_at"):
        return moment(datetime.fromisoformat(value))
    if name == "university":
        return university_name(value)
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return str(value)
