"""What a change of the rollout did, in the reader's language; the commands say the same for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from config.lib.messages import localize
from profiles.rollout.heartbeat import Convergence
from profiles.rollout.models import Action, Change, OnBreach
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SHADOW, TITLES
from profiles.rollout.rollout_settings import ChangeResult

T = gettext_lazy
SWITCHES: dict[str, Promise] = {
    "webhook_processing": T("Processing of updates"),
    "profile_cache": T("Profile cache"),
    "monitoring": T("Monitoring"),
    "service_employee": T("Employee service"),
    "service_chat": T("Chat service"),
    EMERGENCY_STOP: T("Emergency stop"),
}
_OTHERS: dict[str, Promise] = {"held_for": T("Paused"), "on_breach": T("On a breach")}
_FLAGS: dict[str, Promise] = {SHADOW: T("Share of lookups that are compared")}
ROLES: dict[str, Promise] = {
    "superadmin": T("superadmin"),
    "curator": T("curator"),
    "operator": T("operator"),
    "viewer": T("viewer"),
    "rollout_manager": T("rollout manager"),
    "data_protection_officer": T("data protection officer"),
}
# Of the rule for a university, and of a rehearsal.
_KEPT: dict[str, Promise] = {
    "university": T("university id"),
    "phase": T("phase"),
    "percent": T("percent"),
    "due_at": T("due at"),
    "allowed": T("allowed"),
    "expires_at": T("expires at"),
    "out_s": T("out of the cache after, s"),
    "total_s": T("back after, s"),
    "out": T("out of the cache"),
    "back": T("back"),
    "remembered": T("before the emergency"),
}
# What moved does not say of these what it was.
_TITLED = (Action.SEED, Action.REHEARSAL, Action.EMERGENCY)


def outcome(result: ChangeResult) -> list[str]:
    """Return a line for each thing that changed, or would."""
    if not result.is_change:
        return [_("Nothing to change")]
    return [_moved(name, before, after) for name, before, after in result.differences()]


def _moved(name: str, before: Any, after: Any) -> str:
    words = {"name": name_of(name), "before": _value(name, before), "after": _value(name, after)}
    return _("%(name)s: %(before)s → %(after)s") % words


def name_of(name: str) -> str:
    if name in PHASES:
        number = PHASES.index(name)
        return _("Phase %(n)d, %(title)s") % {"n": number + 1, "title": TITLES[number]}
    return str((SWITCHES | _OTHERS | _FLAGS | ROLES).get(name, name))


def with_code(name: str) -> str:
    """Return a flag, a switch or a group by its title, and the code that commands and the API know it by."""
    return format_html('{}<br><code class="s-note">{}</code>', name_of(name), name)


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return pgettext("switch", "on") if value else pgettext("switch", "off")
    if name == "on_breach" and value in OnBreach.values:
        return str(OnBreach(value).label)
    if value is None or name in _OTHERS:
        return str(value or "—")
    # What else has a name is a phase, or a flag of another app.
    return f"{localize(str(value))}\u00a0%"


def change(row: Change) -> str:
    """Return what an audit row tells, in a line."""
    if row.action in _LINES:
        return _LINES[row.action](row)
    moved = [*_moves(row.before.get("percents", {}), row.after.get("percents", {}))]
    for kind in ("switches", "everyone"):
        moved += _moves(row.before.get(kind, {}), row.after.get(kind, {}))
    if row.before.get("held_for") != row.after.get("held_for"):
        moved.append(_("Paused") if row.after.get("held_for") else _("Resumed"))
    if row.before.get("on_breach") != row.after.get("on_breach"):
        moved.append(_moved("on_breach", row.before.get("on_breach"), row.after.get("on_breach")))
    if row.action in _TITLED:
        moved.insert(0, row.get_action_display())
    return "; ".join(moved) or row.get_action_display()


def _moves(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(after):
        earlier = before.get(name, "0" if name in PHASES else None)
        if name != EMERGENCY_STOP and earlier != after[name]:
            yield _moved(name, earlier, after[name])


def _scope(row: Change) -> str:
    rule = row.after or row.before
    words = {"university": rule["university"], "phase": rule["phase"]}
    if not row.after:
        return _("University %(university)d: the percentage of phase %(phase)d decides again") % words
    if rule["allowed"]:
        return _("University %(university)d is let into phase %(phase)d") % words
    return _("University %(university)d is kept out of phase %(phase)d") % words


def _plan(row: Change) -> str:
    told = row.after or row.before
    due_at = timezone.localtime(datetime.fromisoformat(told["due_at"]))
    words = {"deed": row.get_action_display(), "phase": told["phase"], "percent": localize(told["percent"])}
    words["at"] = date_format(due_at, "j E Y, H:i T")
    return _("%(deed)s: phase %(phase)d to %(percent)s %% on %(at)s") % words


def _deletion(row: Change) -> str:
    return "; ".join(f"{row.get_action_display()}: {name_of(name)}" for name in row.before["percents"])


# What is no change of something that stays.
_LINES: dict[str, Callable[[Change], str]] = {
    Action.SCOPE: _scope,
    Action.PLAN: _plan,
    Action.CANCEL: _plan,
    Action.DELETE: _deletion,
}
ACTORS: dict[str, Promise] = {
    "migrate": T("installation"),
    "conductor": T("conductor"),
    "code": T("code"),
}


def actor(by: str) -> str:
    """Return who changed something: a person by their login, what is no person by what it is."""
    return str(ACTORS.get(by, by))


def standing(told: Mapping[str, Any]) -> Iterator[str]:
    """Return what an audit row kept of one side, a line a thing; what has no words of ours by its own name."""
    for name, value in told.items():
        if isinstance(value, dict):
            before = f"{_KEPT[name]}: " if name == "remembered" else ""
            yield from (f"{before}{name_of(key)}: {_value(key, one)}" for key, one in sorted(value.items()))
        elif name in _OTHERS:
            yield f"{name_of(name)}: {_value(name, value)}"
        else:
            yield f"{_KEPT.get(name, name)}: {_plain(name, value)}"


def _plain(name: str, value: Any) -> str:
    if name in ("due_at", "expires_at") and value:
        return date_format(datetime.fromisoformat(value).astimezone(UTC), "SHORT_DATETIME_FORMAT") + " UTC"
    if name == "percent":
        return f"{localize(str(value))}\u00a0%"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return "—" if value is None else str(value)


def spread(found: Convergence) -> str:
    words = {"reached": len(found.reached), "all": found.living, "revision": found.revision}
    return _("%(reached)d of %(all)d processes are at revision %(revision)d") % words
