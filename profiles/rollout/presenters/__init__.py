"""Texts for phases, switches, percentages and the results of changes, shared by pages and commands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext

from config.lib import shell_user, times
from config.lib.messages import Message, localize
from profiles.rollout import rules
from profiles.rollout.approvals import APPROVAL_NEEDED
from profiles.rollout.heartbeat import Convergence
from profiles.rollout.lock import Busy
from profiles.rollout.models import OnBreach
from profiles.rollout.monitored_period import monitored_since
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SHADOW, TITLES
from profiles.rollout.rollout_settings import ChangeResult
from profiles.rollout.rules import ChangeRefused, InvalidValue
from profiles.rollout.standby import HERE_ONLY

T = gettext_lazy
SWITCHES: dict[str, Promise] = {
    "webhook_processing": T("Processing of updates"),
    "profile_cache": T("Profile cache"),
    "monitoring": T("Monitoring"),
    "service_employee": T("Employee service"),
    "service_chat": T("Chat service"),
    EMERGENCY_STOP: T("Emergency stop"),
}
ROLES: dict[str, Promise] = {
    "superadmin": T("superadmin"),
    "curator": T("curator"),
    "operator": T("operator"),
    "viewer": T("viewer"),
    "rollout_manager": T("rollout manager"),
    "data_protection_officer": T("data protection officer"),
}
SETTINGS: dict[str, Promise] = {"held_for": T("Paused"), "on_breach": T("After three breaches")}
_NAMES = SWITCHES | ROLES | SETTINGS | {SHADOW: T("Share of compared lookups")}
ACTORS: dict[str, Promise] = {"migrate": T("installation"), "conductor": T("controller"), "code": T("code")}

_UNITS: tuple[tuple[int, Callable[[int], str]], ...] = (
    (86_400, lambda n: ngettext("%(n)d day", "%(n)d days", n)),
    (3600, lambda n: ngettext("%(n)d hour", "%(n)d hours", n)),
    (60, lambda n: ngettext("%(n)d minute", "%(n)d minutes", n)),
    (1, lambda n: ngettext("%(n)d second", "%(n)d seconds", n)),
)


def name_of(name: str) -> str:
    """Return the title of a phase, switch, setting or group; return any other name unchanged."""
    if name in PHASES:
        number = rules.phase_number(name)
        return _("Phase %(n)d, %(title)s") % {"n": number, "title": TITLES[number - 1]}
    return str(_NAMES.get(name, name))


def with_code(name: str) -> str:
    """Return HTML with the title and, below it, the name that commands and the API use."""
    return format_html('{}<br><code class="s-note">{}</code>', name_of(name), name)


def actor(by: str) -> str:
    """Return an author's display name: a person's login, or a title for the installation, the controller or code."""
    return str(ACTORS.get(by) or shell_user.displayed(by))


def percentage(percent: Decimal | str) -> str:
    return _("%(number)s%%") % {
        "number": localize(percent if isinstance(percent, str) else rules.format_percent(percent))
    }


def duration(length: timedelta) -> str:
    """Return the duration in the largest unit that fits, from days to seconds; a negative duration is 0 s."""
    seconds = max(length.total_seconds(), 0)
    for unit, size in ((_("d"), 86_400), (_("h"), 3600), (_("min"), 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}\u00a0{unit}"
    return f"{seconds:.0f}\u00a0{_('s')}"


def length(duration: timedelta) -> str:
    """Return a configured duration in words, with several units if needed: “30 days”, “1 hour 30 minutes”."""
    seconds, parts = round(duration.total_seconds()), list[str]()
    for size, word in _UNITS:
        number, seconds = divmod(seconds, size)
        parts += [word(number) % {"n": number}] if number else []
    return " ".join(parts) or _UNITS[-1][1](0) % {"n": 0}


def moment(at: datetime) -> str:
    return times.text(at, has_seconds=False)


def convergence(spread: Convergence) -> str:
    """Return how many processes have applied the latest revision, and which processes are behind or silent."""
    params = {"reached": len(spread.reached), "all": spread.living, "revision": spread.revision}
    line = _("%(reached)d of %(all)d processes have applied revision %(revision)d") % params
    if spread.seconds is not None and spread.living:
        line += _(", after %(seconds)s s") % {"seconds": number_format(spread.seconds, 1)}
    if spread.behind:
        line += "; " + _("behind: %(names)s") % {"names": ", ".join(spread.behind)}
    if spread.silent:
        line += "; " + _("silent processes, not counted: %(names)s") % {"names": ", ".join(spread.silent)}
    return line


def outcome(result: ChangeResult) -> list[str]:
    """Return a line for each setting that the change has modified or, for a dry run, would modify."""
    if not result.is_change:
        return [str(APPROVAL_NEEDED) if result.needs_approval else _("No changes"), *durability(result)]
    lines = [move(name, before, after) for name, before, after in result.differences()]
    if result.needs_approval:
        lines.append(str(APPROVAL_NEEDED))
    if result.is_resume:
        lines.append(restart(timezone.now() if result.is_dry_run else monitored_since()))
    return [*lines, *durability(result)]


def durability(result: ChangeResult) -> list[str]:
    """Return a note if no standby has confirmed the change; users who may not view the rollout also see the note."""
    return [str(HERE_ONLY)] if result.is_here_only else []


def refusal(refused: ChangeRefused, *, is_shown: bool) -> str:
    """Return why a change is refused.

    If ``is_shown`` is False, return a general text instead of a reason that may contain values of the rollout.
    """
    has_no_values = isinstance(refused.text, Message) and not refused.text.params
    if is_shown or has_no_values or isinstance(refused, InvalidValue | Busy):
        return str(refused)
    return _("The rules or gates of the rollout do not allow this change.")


def restart(resumed_at: datetime) -> str:
    """Return a sentence which states that comparisons from before the resume do not count."""
    return _("Comparisons before %(time)s no longer count") % {"time": moment(resumed_at)}


def last_restart(window: timedelta) -> str:
    """Return the sentence of ``restart`` for the last resume; an empty string if the resume was before the window."""
    resumed_at = monitored_since()
    return restart(resumed_at) if resumed_at > timezone.now() - window else ""


def move(name: str, before: Any, after: Any) -> str:
    """Return the text for a change of a value, such as “Phase 3, Gradual transition: 1% → 5%”."""
    params = {"name": name_of(name), "before": value_of(name, before), "after": value_of(name, after)}
    return _("%(name)s: %(before)s → %(after)s") % params


def value_of(name: str, value: Any) -> str:
    """Return the value of a phase, switch, setting or flag as text; a dash for None."""
    if isinstance(value, bool):
        return pgettext("switch", "on") if value else pgettext("switch", "off")
    if isinstance(value, list):
        return ", ".join(value) or "—"
    if name == "on_breach" and value in OnBreach.values:
        return str(OnBreach(value).label)
    if value is None or name in SETTINGS:
        return str(value or "—")
    # All other values are percentages, of phases or of other flags.
    return percentage(str(value))
