"""The rollout page: phases with the gates of the next step, rules, planned steps, latest changes and a chart."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Q
from django.db.models.functions import TruncDate
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from waffle.models import Switch

from config.lib.scope import scope_of
from config.lib.times import clock, iso
from employees.admin import admin_scope
from employees.models import University
from monitoring.dashboard import charts, held
from monitoring.dashboard.access import may, page, screen, visible_requests
from monitoring.indicators import rounds
from monitoring.indicators.trends import moments_of
from monitoring.rollout_control import SEE_ROLLOUT
from monitoring.rollout_control.presenters import phases, timelines
from monitoring.stats import comparison_stats
from monitoring.stats.cached import statistic
from monitoring.stats.comparison_stats import ComparisonStats
from profiles.models import ProfileSource
from profiles.rollout import presenters
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Change, Rollout, UniversityRule
from profiles.rollout.phases import PHASES, SWITCHES
from profiles.rollout.presenters import audit_rows
from profiles.rollout.rollout_settings import RolloutSettings

T = gettext_lazy
CHANGES_SHOWN = 8
_ZOOM = timedelta(hours=1)
# The indicators of the last hour's chart: name, label and colour.
_ZOOMED = (
    ("agreement", T("Agreement, lower bound"), "good"),
    ("conflicts", T("Conflicts, upper bound"), "bad"),
    ("webhook_error_rate", T("Webhook errors"), "api"),
)
_DAY = TruncDate("at", tzinfo=UTC)
# The changes of a phase's percentage, without pauses and changes of switches and of other apps' flags.
_MOVES = Q(after__percents__has_key=PHASES[2]) & (
    ~Q(before__has_key="percents") | ~Q(after__percents=F("before__percents"))
)


@screen(SEE_ROLLOUT)
def overview(request: HttpRequest) -> HttpResponse:
    """Show the page; users who are limited to universities do not see the rules and changes of other universities."""
    limits = admin_scope(request)
    rules, changes = UniversityRule.objects.in_force().order_by("phase", "university_id"), Change.objects.all()
    if limits:
        universities = list(limits.universities().values_list("pk", flat=True))
        rules, changes = rules.filter(university_id__in=universities), changes.of_universities(universities)
    names = dict(University.objects.filter(pk__in=[rule.university_id for rule in rules]).values_list("pk", "name"))
    requests = visible_requests(request.user).waiting()
    context = _live_context(request) | {
        "requests": [(approval, audit_rows.change(approval)) for approval in requests],
        "has_approvals": settings.ROLLOUT_APPROVALS,
        "rules": [(rule, names.get(rule.university_id, _("deleted university"))) for rule in rules],
        "changes": [
            (change, audit_rows.change(change), audit_rows.authors(change), audit_rows.reasons(change))
            for change in changes[:CHANGES_SHOWN]
        ],
        "plans": timelines(Rollout.current().revision),
        "timeline": timeline(),
        "last_hour": last_hour(),
    }
    return page(request, "rollout.html", _("Rollout"), **context)


@screen(SEE_ROLLOUT)
def live(request: HttpRequest) -> HttpResponse:
    return TemplateResponse(request, "admin/screens/rollout_live.html", _live_context(request))


def _live_context(request: HttpRequest) -> dict[str, Any]:
    rollout, readings = Rollout.current(), rounds.latest()
    controls, spread = RolloutSettings.read(rollout), convergence()
    switches = {switch.name: switch for switch in Switch.objects.filter(name__in=SWITCHES)}
    return {
        "rollout": rollout,
        "controls": controls,
        "spread": spread,
        "convergence": presenters.convergence(spread),
        "restart": presenters.last_restart(comparison_stats.WINDOW),
        "phases": phases(controls, readings, with_history=True, may_see=scope_of(request).university_ids()),
        "measured": readings,
        "held": held.banner(request, controls, readings),
        "switches": [(switches[name], presenters.SWITCHES[name]) for name in SWITCHES if name in switches],
        "may": may(request),
    }


def timeline() -> dict[str, Any]:
    """Return the chart of the last 30 days: percentages, agreement with its bounds, fallbacks and incidents."""
    days = charts.last_days()
    moves = moves_of(days)
    lower, upper, agreement, fallback = zip(*_comparisons_by_day(days), strict=True)
    incidents = Change.objects.filter(at__gte=_start(days), action__in=("emergency", "roll-back")).annotate(day=_DAY)
    incident_days = {day.isoformat() for day in incidents.order_by().values_list("day", flat=True).distinct()}
    return charts.chart(
        "line",
        [charts.day_label(day) for day in days],
        charts.series(_("Phase 3"), percents_by_day(moves, PHASES[2], days), "webhook", is_stepped=True),
        charts.series(_("Phase 4"), percents_by_day(moves, PHASES[3], days), "own", is_stepped=True),
        charts.series(_("Agreement, lower bound"), lower, "good", is_band=True, is_hidden_in_legend=True),
        charts.series(_("Agreement, upper bound"), upper, "good", fills_to="-1", is_hidden_in_legend=True),
        charts.series(_("Agreement"), agreement, "good"),
        charts.series(_("Fallback to the direct API"), fallback, "api", is_dashed=True),
        charts.series(_("Incident"), [0 if day in incident_days else None for day in days], "bad", is_mark=True),
        title=_("The last 30 days, in percent"),
        most=100,
    )


def last_hour() -> dict[str, Any] | None:
    """Return the chart of percentages and gate indicators in the last hour; None for fewer than two measurements."""
    until = timezone.now()
    since = until - _ZOOM
    readings = moments_of([name for name, _label, _colour in _ZOOMED], since, until)
    times = sorted({moment.at for moments in readings.values() for moment in moments})
    if len(times) < 2:
        return None
    lines = []
    for name, label, colour in _ZOOMED:
        values = {moment.at: moment.value for moment in readings.get(name, [])}
        shares = [None if (value := values.get(at)) is None else round(100 * value, 2) for at in times]
        lines.append(charts.series(label, shares, colour))
    for title, phase, colour in ((_("Phase 3"), PHASES[2], "webhook"), (_("Phase 4"), PHASES[3], "own")):
        lines.append(charts.series(title, _percents_at(times, phase), colour, is_stepped=True))
    labels, moments = [clock(at) for at in times], [*map(iso, times)]
    return charts.chart("line", labels, *lines, title=_("The last hour, in percent"), most=100, moments=moments)


def _percents_at(times: Sequence[datetime], phase: str) -> list[float]:
    """Return the phase's percentage at each of ``times`` (in ascending order), computed from the recorded changes."""
    percents = [float(RolloutSettings.read(Rollout.current()).percents[phase])] * len(times)
    for move in Change.objects.filter(_MOVES, at__gte=times[0]).order_by("-pk"):
        before = move.before.get("percents", {}).get(phase)
        if before is not None:
            percents = [float(before) if at < move.at else p for at, p in zip(times, percents, strict=True)]
    return percents


def moves_of(days: Sequence[str]) -> list[Change]:
    """Return the changes of percentages that are needed for a chart of these days.

    They are the last change before the days, and the last change of each day. If there is no change before the days,
    the first change of all is added instead.
    """
    moves = Change.objects.filter(_MOVES)
    in_days = moves.filter(at__gte=_start(days)).annotate(day=_DAY).order_by("day", "-pk").distinct("day")
    before = moves.filter(at__lt=_start(days)).first() or moves.order_by("pk").first()
    return [*([before] if before else []), *in_days]


def _start(days: Sequence[str]) -> datetime:
    return datetime.fromisoformat(days[0]).replace(tzinfo=UTC)


def _comparisons_by_day(days: Sequence[str]) -> Iterable[tuple[float | None, ...]]:
    """Yield four values for each day, in percent: both bounds of agreement, agreement, and the share of fallbacks.

    A value is None if there are no comparisons to compute it from.
    """
    outcomes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    answered: dict[str, int] = defaultdict(int)
    fallbacks: dict[str, int] = defaultdict(int)
    for day, outcome, is_cache_first, source, n in statistic("comparisons_by_day").value:
        outcomes[day][outcome] += n
        if is_cache_first:
            answered[day] += n
            fallbacks[day] += n * (source in (ProfileSource.API, ProfileSource.DEFAULT))
    for day in days:
        stats = ComparisonStats(outcomes[day])
        bounds = stats.agreement_bounds if stats.agreement is not None else (None, None)
        fallback = fallbacks[day] / answered[day] if answered[day] else None
        yield tuple(None if share is None else round(100 * share, 2) for share in (*bounds, stats.agreement, fallback))


def percents_by_day(changes: list[Change], phase: str, days: Sequence[str]) -> list[float | None]:
    """Return the phase's percentage at the end of each day; None for days before the rollout was set up."""
    moves = []
    for change in changes:
        # The row of the initial setup has no earlier percentages; a change of one flag has only that flag's percentage.
        before, after = (side.get("percents", {}).get(phase) for side in (change.before, change.after))
        if after is not None:
            moves.append((f"{change.at:%Y-%m-%d}", None if before is None else float(before), float(after)))
    if not moves:
        current = RolloutSettings.read(Rollout.current()).percents[phase]
        return [float(current)] * len(days)
    first = moves[0][1]
    return [next((after for day_moved, _before, after in reversed(moves) if day_moved <= day), first) for day in days]
