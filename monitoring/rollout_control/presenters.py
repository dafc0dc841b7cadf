"""Texts about phases and gate results for pages and commands; profiles/rollout/presenters/ has the other texts."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Self

from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from monitoring.indicators.models import Round
from monitoring.indicators.units import with_unit
from monitoring.rollout_control import gates
from monitoring.rollout_control.gate_history import GateHistory, history
from monitoring.rollout_control.gates import Evaluation, GateResult
from monitoring.rollout_control.labels import GATES
from monitoring.rollout_control.models import Verdict
from profiles.rollout import changes, rules
from profiles.rollout.models import ChangeRecord, Flag, Plan, PlanState, university_name
from profiles.rollout.phases import PHASES, TITLES
from profiles.rollout.presenters.audit_rows import hours, planned_step
from profiles.rollout.rollout_settings import RolloutSettings

T = gettext_lazy
MEANINGS: tuple[Promise, ...] = (
    T("The whole system is deployed. Names come from the direct API."),
    T("Updates create profiles. Names come from the direct API and are compared with the names in the cache."),
    T("Names come from the cache, or from the direct API if the cache has no fresh full name."),
    T("Names come from the cache. The direct API is called only for people without a stored profile."),
)
UNIVERSITIES_NAMED = 5
TONES = {Verdict.PASS: "good", Verdict.FAIL: "bad", Verdict.INCONCLUSIVE: "wait", Verdict.ERROR: "bad"}


# The gates whose value is not the share in the sample, but the bound of this share that favours the cache.
_BOUNDS = ("cohort_errors", "cohort_agreement")


@dataclass(frozen=True, slots=True)
class Condition:
    """A gate result as shown to people; ``number``, ``operator`` and ``limit`` are empty if there is no value."""

    gate: str
    title: str
    verdict: str
    tone: str
    message: str
    number: str = ""
    operator: str = ""
    limit: str = ""
    n: int | None = None
    history: GateHistory | None = None

    @classmethod
    def of(cls, result: GateResult, may_see: Collection[int] | None = None) -> Self:
        """Return the result for display, naming only universities in ``may_see``; None allows all names and figures."""
        value = limit = ""
        if result.value is not None and result.unit != "bool":
            value = with_unit(result.value, result.unit)
            if result.gate in _BOUNDS:
                value = f"{'≤' if result.comparison == '≥' else '≥'}\u00a0{value}"
            if result.comparison and result.limit is not None:
                limit = with_unit(result.limit, result.unit)
        title, verdict = str(GATES[result.gate]), str(result.verdict.label)
        labels = (title, verdict, TONES[result.verdict], str(result.message) + _details(result, may_see))
        return cls(result.gate, *labels, value, result.comparison if value else "", limit, result.n)


def _details(result: GateResult, may_see: Collection[int] | None) -> str:
    """Return the end of a gate's message: its figures, and the first few universities that the reader may see."""
    figures = _("; the one with most comparisons: %(figures)s") % {"figures": result.figures} if result.figures else ""
    return (figures if may_see is None else "") + _named(result.universities, may_see)


def _named(universities: Iterable[int], may_see: Collection[int] | None) -> str:
    """Return the names of the first few universities that the reader may see, and how many more there are."""
    shown = [pk for pk in universities if may_see is None or pk in may_see]
    if not shown:
        return ""
    names = ", ".join(map(university_name, shown[:UNIVERSITIES_NAMED]))
    others = len(shown) - UNIVERSITIES_NAMED
    names += _(" and %(n)d more") % {"n": others} if others > 0 else ""
    return _("; among them: %(names)s") % {"names": names}


def conditions(
    evaluation: Evaluation, *, with_history: bool = False, may_see: Collection[int] | None = None
) -> list[Condition]:
    """Return the results of a step's gates for display: the failed ones first, the passed ones last.

    Only universities in ``may_see`` are named; None allows all of them.
    """
    histories = history(evaluation) if with_history else {}
    shown = [Condition.of(result, may_see) for result in evaluation.results]
    shown = [replace(condition, history=histories.get(condition.gate)) for condition in shown]
    return sorted(shown, key=lambda one: ("bad", "wait", "good").index(one.tone))


def forced_past(row: ChangeRecord) -> str:
    """Return a text with the gates that a forced step ignores; an empty string for a step that is not forced."""
    return _("forced although gates did not pass: %(gates)s") % {"gates": failed_gates(row)} if row.is_forced else ""


def failed_gates(row: ChangeRecord) -> str:
    return ", ".join(str(GATES[item["gate"]]) for item in row.evidence if item["verdict"] != Verdict.PASS)


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase as shown to people. ``is_turn`` is True if the rollout's next step is a step of this phase.

    While the emergency stop is latched, ``is_turn`` is False for all phases: the rollout must be resumed first.
    ``conditions`` are the gate results of the next step; empty if ``is_turn`` is False.
    """

    name: str
    number: int
    title: str
    meaning: str
    percent: Decimal
    since: datetime | None
    status: str
    tone: str
    is_turn: bool
    next_percent: Decimal | None
    ladder: list[tuple[str, str]]
    conditions: list[Condition]

    @property
    def holding(self) -> list[Condition]:
        return [condition for condition in self.conditions if condition.tone != "good"]


def phases(
    settings: RolloutSettings, readings: Round, *, with_history: bool = False, may_see: Collection[int] | None = None
) -> list[Phase]:
    """Return the four phases; the gates of the next step are evaluated with the indicators in ``readings``.

    Only universities in ``may_see`` are named; None allows all of them.
    """
    flags = {flag.name: flag for flag in Flag.objects.filter(name__in=PHASES)}
    turn, presented = changes.next_phase(), []
    for number, name in enumerate(PHASES, 1):
        percent = settings.percents[name]
        step = rules.step_after(name, percent)
        is_turn = name == turn and step is not None and not settings.is_latched
        evaluation = gates.last_evaluation(number, step, flags, readings) if is_turn and step else None
        status, tone = _status(name, percent, settings)
        ladder = [
            (rules.format_percent(rung), "done" if rung <= percent else "next" if rung == step else "ahead")
            for rung in (rules.STEPS if number >= 3 else rules.STEPS[-1:])
        ]
        presented.append(
            Phase(
                name=name,
                number=number,
                title=str(TITLES[number - 1]),
                meaning=str(MEANINGS[number - 1]),
                percent=percent,
                since=flags[name].moved_at if name in flags else None,
                status=status,
                tone=tone,
                is_turn=is_turn,
                next_percent=step,
                ladder=ladder,
                conditions=conditions(evaluation, with_history=with_history, may_see=may_see) if evaluation else [],
            )
        )
    return presented


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """A step of a plan as shown to people; ``number`` is the ID by which the whole plan is cancelled."""

    number: int
    row: Plan
    step: str
    state: str
    tone: str
    outcome: str
    is_open: bool

    @property
    def line(self) -> str:
        return f"{self.step}: {self.state}" + (f" ({self.outcome})" if self.outcome else "")


_STATE_TONES = {PlanState.DONE: "good", PlanState.DROPPED: "bad", PlanState.QUEUED: "calm"}


def timelines(revision: int) -> list[list[TimelineStep]]:
    """Return the steps of each plan in progress. If there is none, but the last plan was stopped, return its steps."""
    heads = {step.first_id or step.pk for step in Plan.objects.open()}
    last = Plan.objects.order_by("-pk").first()
    if last is not None and last.state == PlanState.DROPPED and not heads:
        heads = {last.first_id or last.pk}
    rows = Plan.objects.filter(Q(pk__in=heads) | Q(first__in=heads)).order_by("pk")
    plans: dict[int, list[TimelineStep]] = {}
    for row in rows:
        head = row.first_id or row.pk
        plans.setdefault(head, []).append(_timeline_step(row, head, revision))
    return list(plans.values())


def _timeline_step(row: Plan, head: int, revision: int) -> TimelineStep:
    state = PlanState(row.state)
    is_open = state not in (PlanState.DONE, PlanState.DROPPED)
    step = planned_step(row.phase, row.percent, row.due_at, waits_for_gates=row.waits_for_gates)
    if row.hours:
        step += f", {hours(*row.hours)}"
    outcome, tone = row.text, _STATE_TONES.get(state, "wait")
    if state in (PlanState.PLANNED, PlanState.WAITING) and row.revision != revision:
        outcome, tone = _("The rollout has changed since the step was planned, so the step will be cancelled."), "bad"
    elif state == PlanState.DONE:
        outcome = ""
    return TimelineStep(head, row, step, str(state.label), tone, outcome, is_open)


def _status(name: str, percent: Decimal, settings: RolloutSettings) -> tuple[str, str]:
    if settings.is_latched:
        return _("Stopped"), "bad"
    if name in settings.everyone:
        return (_("Overridden: on for everyone") if settings.everyone[name] else _("Overridden: off")), "wait"
    if percent >= 100:
        return _("Complete"), "good"
    if not percent:
        return _("Not started"), "calm"
    return (_("Paused"), "wait") if settings.held_for else (_("In progress"), "info")
