"""The rollout's screen: the phases with their gates, what else is in hand, and how it went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import F, Q
from django.db.models.functions import TruncDate
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from waffle.models import Switch

from employees.accounts import UserScope
from employees.admin import admin_scope
from employees.models import University
from monitoring.dashboard import charts
from monitoring.dashboard.access import SEE_ROLLOUT, may, page, screen
from monitoring.dashboard.phases import phases
from monitoring.indicators import rounds
from monitoring.stats.comparison_stats import ComparisonStats
from monitoring.stats.directory import figure
from profiles.models import ProfileSource
from profiles.rollout import presenters
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Change, Plan, PlanState, Rollout, UniversityRule
from profiles.rollout.phases import PHASES, SWITCHES
from profiles.rollout.rollout_settings import RolloutSettings

CHANGES_SHOWN = 8
_DAY = TruncDate("at", tzinfo=UTC)
_INCIDENTS = ("emergency", "roll-back")
# Of the phases alone: neither a pause nor a switch, nor the flag of another app.
_MOVES = Q(after__percents__has_key=PHASES[2]) & (
    ~Q(before__has_key="percents") | ~Q(after__percents=F("before__percents"))
)


@screen(SEE_ROLLOUT)
def overview(request: HttpRequest) -> HttpResponse:
    limits = admin_scope(request)
    context = standing() | {
        "scopes": scopes(limits),
        "changes": latest(limits),
        "plans": Plan.objects.filter(state=PlanState.PLANNED),
    }
    return page(request, "rollout.html", _("Rollout"), may=may(request), timeline=timeline(), **context)


@screen(SEE_ROLLOUT)
def live(request: HttpRequest) -> HttpResponse:
    return TemplateResponse(request, "admin/screens/rollout_live.html", standing() | {"may": may(request)})


def standing() -> dict[str, Any]:
    rollout = Rollout.current()
    controls, readings = RolloutSettings.read(rollout), rounds.latest()
    switches = {switch.name: switch for switch in Switch.objects.filter(name__in=SWITCHES)}
    return {
        "rollout": rollout,
        "controls": controls,
        "spread": convergence(),
        "phases": phases(controls, readings),
        "measured": readings,
        "switches": [(switches[name], presenters.SWITCHES[name]) for name in SWITCHES if name in switches],
    }


def scopes(limits: UserScope | None) -> list[UniversityRule]:
    """Return the universities' rules in force, or those of a reader's own, each with its university's name."""
    rules = UniversityRule.objects.in_force().order_by("phase", "university_id")
    found = list(rules.filter(university_id__in=limits.universities()) if limits else rules)
    names = dict(University.objects.filter(pk__in=[scope.university_id for scope in found]).values_list("pk", "name"))
    for scope in found:
        scope.university_name = names.get(scope.university_id, f"#{scope.university_id}")  # type: ignore[attr-defined]
    return found


def latest(limits: UserScope | None) -> list[dict[str, Any]]:
    """Return the latest changes, without those of other universities for who looks after one."""
    changes = Change.objects.of_universities(_ids(limits)) if limits else Change.objects.all()
    return [{"change": change, "what": presenters.change(change)} for change in changes[:CHANGES_SHOWN]]


def _ids(limits: UserScope) -> list[int]:
    return list(limits.universities().values_list("pk", flat=True))


def timeline() -> dict[str, Any]:
    """Return 30 days: percentages as steps, agreement with its band, fallbacks, and the days of incidents."""
    days = charts.last_days()
    changes = moves_of(days)
    compared = figure("comparisons_by_day").value
    lower, upper, agreement, fallback = zip(*_by_day(compared, days), strict=True)
    incidents = _incidents(days)
    return charts.chart(
        "line",
        [charts.day_label(day) for day in days],
        charts.series(_("Phase 3"), percents_by_day(changes, PHASES[2], days), "webhook", is_stepped=True),
        charts.series(_("Phase 4"), percents_by_day(changes, PHASES[3], days), "own", is_stepped=True),
        charts.series(_("Agreement, lower bound"), lower, "good", is_band=True, is_hidden_in_legend=True),
        charts.series(_("Agreement, upper bound"), upper, "good", fills_to="-1", is_hidden_in_legend=True),
        charts.series(_("Agreement"), agreement, "good"),
        charts.series(_("Fallback to the direct API"), fallback, "api", is_dashed=True),
        charts.series(_("Incident"), [0 if day in incidents else None for day in days], "bad", is_mark=True),
        title=_("The last 30 days, in percent"),
        most=100,
    )


def moves_of(days: Sequence[str]) -> list[Change]:
    """Return what is needed to draw the percentages: the last move of each day, after the last one before them.

    However many rules of universities were changed, and where nothing moved before those days, what moved first.
    """
    moves = Change.objects.filter(_MOVES)
    moved = moves.filter(at__gte=_start(days)).annotate(day=_DAY).order_by("day", "-pk").distinct("day")
    before = moves.filter(at__lt=_start(days)).first() or moves.order_by("pk").first()
    return [*([before] if before else []), *moved]


def _incidents(days: Sequence[str]) -> set[str]:
    found = Change.objects.filter(at__gte=_start(days), action__in=_INCIDENTS).annotate(day=_DAY)
    return {day.isoformat() for day in found.order_by().values_list("day", flat=True).distinct()}


def _start(days: Sequence[str]) -> datetime:
    return datetime.fromisoformat(days[0]).replace(tzinfo=UTC)


def _by_day(rows: Iterable[Sequence[Any]], days: Sequence[str]) -> list[tuple[float | None, ...]]:
    """Return, for each day, the bounds of agreement, the agreement and the share of fallbacks, 0 to 100."""
    outcomes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    answered: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for day, outcome, is_cache_first, source, n in rows:
        outcomes[day][outcome] += n
        if is_cache_first:
            answered[day][0] += n
            answered[day][1] += n * (source in (ProfileSource.API, ProfileSource.DEFAULT))
    return [(*_agreement(ComparisonStats(outcomes[day])), _share(*answered[day])) for day in days]


def _agreement(stats: ComparisonStats) -> tuple[float | None, float | None, float | None]:
    if stats.agreement is None:
        return None, None, None
    low, high = stats.agreement_bounds
    return round(100 * low, 2), round(100 * high, 2), round(100 * stats.agreement, 2)


def _share(whole: int, part: int) -> float | None:
    return round(100 * part / whole, 2) if whole else None


def percents_by_day(changes: list[Change], phase: str, days: Sequence[str]) -> list[float | None]:
    """Return the phase's percentage at the end of each day; None before the rollout was seeded."""
    moves = [
        (f"{change.at:%Y-%m-%d}", _percent_in(change.before, phase), _percent_in(change.after, phase))
        for change in changes
        if _percent_in(change.after, phase) is not None
    ]
    if not moves:
        current = RolloutSettings.read(Rollout.current()).percents[phase]
        return [float(current)] * len(days)
    first = moves[0][1]
    return [next((after for moved, _before, after in reversed(moves) if moved <= day), first) for day in days]


def _percent_in(controls: dict[str, Any], phase: str) -> float | None:
    """Return None where a change does not tell of the phase: a seed's before, the comparison's share."""
    told = controls.get("percents", {}).get(phase)
    return None if told is None else float(told)
