"""The four phases as a screen shows them: where each stands, and what holds its next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from django.utils.formats import localize
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from monitoring.indicators.models import Round
from monitoring.rollout_control import gates
from monitoring.rollout_control.gate_titles import GATES
from monitoring.rollout_control.gates.results import GateResult, Judgement
from monitoring.rollout_control.models import Verdict
from profiles.rollout import changes, rules
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES
from profiles.rollout.rollout_settings import RolloutSettings

T = gettext_lazy
TITLES: tuple[Promise, ...] = (T("Infrastructure"), T("Collection"), T("Gradual transition"), T("Cache primary"))
MEANINGS: tuple[Promise, ...] = (
    T("Everything is deployed; the direct API answers."),
    T("Updates become profiles; the direct API answers, the cache is compared."),
    T("The cache answers first, the direct API where it knows nothing fresh."),
    T("The direct API is asked only about people whom no store knows."),
)


# How a number in the base unit of the gate is written: the factor, and the unit's name.
_UNITS: dict[str, tuple[float, str | Promise]] = {
    "%": (100, "%"),
    "points": (100, ""),
    "ms": (1, T("ms")),
    "s": (1, T("s")),
    "min": (1 / 60, T("min")),
    "h": (1 / 3600, T("h")),
    "d": (1, T("d")),
}
_ORDER = ("bad", "wait", "good")
TONES = {Verdict.PASS: "good", Verdict.FAIL: "bad", Verdict.INCONCLUSIVE: "wait", Verdict.ERROR: "bad"}


@dataclass(frozen=True, slots=True)
class Condition:
    """What one gate found, for people."""

    title: str
    verdict: str
    tone: str
    message: str
    number: str = ""
    operator: str = ""
    limit: str = ""

    @classmethod
    def of(cls, found: GateResult) -> Condition:
        condition = cls(str(GATES[found.gate]), str(found.verdict.label), TONES[found.verdict], found.message)
        if found.value is None or found.unit == "bool":
            return condition
        number, limit = _written(found.value, found.unit), ""
        if found.comparison and found.limit is not None:
            limit = _written(found.limit, found.unit)
        return replace(condition, number=number, operator=found.comparison, limit=limit)


def conditions(judgement: Judgement) -> list[Condition]:
    """Return what the gates found, what holds the step first."""
    return sorted(map(Condition.of, judgement.findings), key=lambda one: _ORDER.index(one.tone))


def _written(value: float, unit: str) -> str:
    factor, name = _UNITS.get(unit, (1, ""))
    number = value * factor
    rounded = round(number, 1 if number >= 10 else 2)
    text = localize(int(rounded) if rounded == int(rounded) else rounded)
    return f"{text}\u00a0{name}" if name else str(text)


@dataclass(frozen=True, slots=True)
class Rung:
    percent: str
    state: str


@dataclass(frozen=True, slots=True)
class Phase:
    number: int
    title: str
    meaning: str
    percent: Decimal
    since: datetime | None
    status: str
    tone: str
    is_turn: bool
    next_percent: Decimal | None
    ladder: list[Rung]
    conditions: list[Condition]

    @property
    def holding(self) -> list[Condition]:
        return [condition for condition in self.conditions if condition.tone != "good"]


def phases(controls: RolloutSettings, readings: Round) -> list[Phase]:
    """Return the four phases; the one whose turn it is has the conditions of its next step, judged as a step is."""
    flags = {flag.name: flag for flag in Flag.objects.filter(name__in=PHASES)}
    turn = changes.turn()
    return [_phase(name, controls, flags, readings if name == turn else None) for name in PHASES]


def _phase(name: str, controls: RolloutSettings, flags: Mapping[str, Flag], readings: Round | None) -> Phase:
    flag = flags.get(name)
    number, percent = rules.phase_number(name), controls.percents[name]
    status, tone = _status(name, percent, controls)
    step = rules.step_after(name, percent)
    judged = gates.last_judged(number, step, flags, readings) if readings and step else None
    return Phase(
        number=number,
        title=str(TITLES[number - 1]),
        meaning=str(MEANINGS[number - 1]),
        percent=percent,
        since=flag.moved_at if flag else None,
        status=status,
        tone=tone,
        is_turn=judged is not None,
        next_percent=step,
        ladder=_ladder(number, percent, step),
        conditions=conditions(judged) if judged else [],
    )


def _status(name: str, percent: Decimal, controls: RolloutSettings) -> tuple[str, str]:
    if controls.is_latched:
        return _("Stopped"), "bad"
    if name in controls.everyone:
        return (_("Overridden: on for everyone") if controls.everyone[name] else _("Overridden: off")), "wait"
    if percent >= 100:
        return _("Complete"), "good"
    if not percent:
        return _("Not begun"), "calm"
    return (_("Paused"), "wait") if controls.held_for else (_("Under way"), "info")


def _ladder(number: int, percent: Decimal, step: Decimal | None) -> list[Rung]:
    steps = rules.STEPS if number >= 3 else (Decimal(100),)
    return [
        Rung(rules.shown(rung), "done" if rung <= percent else "next" if rung == step else "ahead") for rung in steps
    ]
