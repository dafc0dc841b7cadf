"""The banner of a held rollout: how many people still get their names from the cache, and the next possible actions."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from monitoring.dashboard.access import SEE_COMPARISONS, may
from monitoring.indicators.models import Round
from monitoring.rollout_control.preview import people_served
from profiles.models import ProfileSource
from profiles.rollout import presenters, rules
from profiles.rollout.models import Flag
from profiles.rollout.monitored_period import last_raise
from profiles.rollout.phases import PHASES
from profiles.rollout.rollout_settings import RolloutSettings

SEE_EMPLOYEES = "employees.view_employee"


@dataclass(frozen=True, slots=True)
class HeldAction:
    key: str
    title: str
    url: str


@dataclass(frozen=True, slots=True)
class HeldBanner:
    """The banner's data.

    ``served`` is the number of employees whose lookups use the cache first; None for users limited to one university.
    """

    served: int | None
    actions: list[HeldAction]


def banner(request: HttpRequest, settings: RolloutSettings, readings: Round) -> HeldBanner | None:
    """Return the banner, with the actions that the user may take; None unless the rollout is paused or stopped."""
    if not (settings.held_for or settings.is_latched):
        return None
    allowed, actions = may(request), []
    deepest = next((name for name in reversed(PHASES[2:]) if settings.percents[name]), None)
    if allowed["operate"] and deepest:
        lower = rules.step_before(settings.percents[deepest])
        step = reverse("screens:step", args=[rules.phase_number(deepest)])
        title = _("Back to %(percent)s…") % {"percent": presenters.percentage(lower)}
        actions.append(HeldAction("back", title, f"{step}?{urlencode({'percent': rules.format_percent(lower)})}"))
    conflicts = readings["conflicts"].data.get("conflicts")
    if allowed["all"] and conflicts and request.user.has_perm(SEE_COMPARISONS):
        query = urlencode({"days": "counted", "outcome": "conflict"})
        title = _("Show the conflicts: %(n)d") % {"n": conflicts}
        actions.append(HeldAction("conflicts", title, f"{reverse('screens:comparisons')}?{query}"))
    if url := named_since(request, _step_began(deepest)):
        actions.append(HeldAction("named", _("Show who got a name from the cache after the last step"), url))
    if allowed["operate"]:
        actions.append(HeldAction("resume", _("Resume…"), reverse("screens:resume")))
    return HeldBanner(people_served() if allowed["all"] else None, actions)


def _step_began(phase: str | None) -> datetime | None:
    """Return when phase 3 or 4 was last increased; if no increase is recorded, when ``phase`` last changed."""
    return last_raise() or Flag.objects.filter(name=phase).values_list("moved_at", flat=True).first()


def named_since(request: HttpRequest, at: datetime | None) -> str:
    """Return the URL of the list of employees whose names have come from the cache since ``at``.

    Return ``""`` if ``at`` is None or the user may not see employees.
    """
    if at is None or not request.user.has_perm(SEE_EMPLOYEES):
        return ""
    sources = f"{ProfileSource.WEBHOOK},{ProfileSource.USER_INPUT}"
    query = urlencode({"profile_source__in": sources, "updated_at__gte": at.isoformat()})
    return f"{reverse('admin:employees_employee_changelist')}?{query}"
