"""The four phases as a screen shows them: where each stands, and what its gates last said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.utils.formats import localize
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from monitoring import evidence, findings, gates, steering, transition
from monitoring.gate_titles import GATES
from monitoring.models import GateCheck, Verdict
from profiles.rollout import changes, rules
from profiles.rollout.controls import Controls
from profiles.rollout.models import PHASES, Flag

T = gettext_lazy
TITLES: tuple[Promise, ...] = (T("Infrastructure"), T("Collection"), T("Gradual transition"), T("Cache primary"))
MEANINGS: tuple[Promise, ...] = (
    T("Everything is deployed; the direct API answers."),
    T("Updates become profiles; the direct API answers, the cache is compared."),
    T("The cache answers first, the direct API where it knows nothing fresh."),
    T("The direct API is asked only about people whom no store knows."),
)


@dataclass(frozen=True, slots=True)
class Measure:
    """How a gate's number is read, and what it has to be; without an operator the gate compares with the other path."""

    unit: str = ""
    operator: str = ""
    limit: Callable[[], float] = lambda: 0.0
    scale: float = 1.0


def _quality_wanted() -> float:
    return 100 * float(settings.PROFILE_QUALITY_ALERT_THRESHOLD)


MEASURES: dict[str, Measure] = {
    "migrated": Measure("", "≤"),
    "round_trip": Measure("ms"),
    "inbox_lag": Measure("s", "≤", lambda: findings.LAG_LIMIT_SECONDS),
    "webhook_errors": Measure("%", "≤", lambda: 100 * settings.WEBHOOK_ERROR_ALERT_THRESHOLD, 100),
    "updates_arrive": Measure("min", "≤", lambda: findings.SILENCE_LIMIT / timedelta(minutes=1)),
    "agreement": Measure("%", "≥", lambda: 100 * evidence.AGREEMENT_WANTED, 100),
    "conflicts": Measure("%", "≤", lambda: 100 * evidence.CONFLICT_ALLOWED, 100),
    "universities": Measure("", "≤"),
    "quality": Measure("", "≥", _quality_wanted),
    "rehearsed": Measure("d", "≤", lambda: transition.REHEARSAL_LASTS.days),
    "cohort_errors": Measure("%", scale=100),
    "cohort_speed": Measure("ms"),
    "dwell": Measure("h", "≥", lambda: settings.ROLLOUT_DWELL / timedelta(hours=1), 1 / 3600),
    "no_alert": Measure("", "≤"),
}
# What these hold against their limit before they have seen enough to judge.
_SAMPLED = dict.fromkeys(("agreement", "conflicts"), Measure("", "≥", lambda: transition.SAMPLE_WANTED))
_UNITS: dict[str, Promise] = {"ms": T("ms"), "s": T("s"), "min": T("min"), "h": T("h"), "d": T("d")}

_ORDER = ("bad", "wait", "good")
TONES = {Verdict.PASS: "good", Verdict.FAIL: "bad", Verdict.INCONCLUSIVE: "wait", Verdict.ERROR: "bad"}


@dataclass(frozen=True, slots=True)
class Told:
    """What one gate said, for people."""

    title: str
    verdict: str
    tone: str
    message: str
    number: str = ""
    operator: str = ""
    limit: str = ""

    @classmethod
    def of(cls, gate: str, verdict: str, message: str, value: float | None = None, raw: str | None = None) -> Told:
        """``raw`` is what the gate alone says, as for a Finding."""
        known = Verdict(verdict)
        told = cls(str(GATES.get(gate, gate)), str(known.label), TONES[known], message)
        has_too_few = (raw or verdict) == Verdict.INCONCLUSIVE
        measure = _SAMPLED[gate] if has_too_few and gate in _SAMPLED else MEASURES.get(gate)
        if measure is None or value is None:
            return told
        number, limit = _shown(value * measure.scale, measure.unit), ""
        if measure.operator:
            limit = _shown(measure.limit(), measure.unit)
        return replace(told, number=number, operator=measure.operator, limit=limit)


def _shown(number: float, unit: str) -> str:
    rounded = round(number, 1 if number >= 10 else 2)
    text = localize(int(rounded) if rounded == int(rounded) else rounded)
    return f"{text}\u00a0{_UNITS.get(unit, unit)}" if unit else str(text)


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
    told: list[Told]
    told_at: datetime | None

    @property
    def holding(self) -> list[Told]:
        return [told for told in self.told if told.tone != "good"]


@dataclass(frozen=True, slots=True)
class Latest:
    """What the gates of the phase whose turn it is said when they were last asked."""

    phase: int
    told: list[Told]
    at: datetime | None

    @classmethod
    def of(cls, phase: int) -> Latest:
        asked = [gate.__name__ for gate in (*gates.ENTERING[phase], *gates.WIDENING.get(phase, ()))]
        # The first gate's index finds the round; a round has one moment.
        rounds = GateCheck.objects.filter(gate=asked[0], phase=phase, at__gt=steering.moved_at(phase)).order_by("-at")
        last = rounds.values_list("at", flat=True).first()
        if last is None:
            return cls(phase, [], None)
        rows = GateCheck.objects.filter(gate__in=asked, phase=phase, at=last).order_by("pk")
        told = [Told.of(row.gate, row.verdict, row.text, row.value) for row in rows]
        return cls(phase, sorted(told, key=lambda one: _ORDER.index(one.tone)), last)


def phases(controls: Controls) -> list[Phase]:
    flags = {flag.name: flag for flag in Flag.objects.filter(name__in=PHASES)}
    latest = Latest.of(rules.phase_number(changes.turn()))
    return [_phase(number, controls, flags.get(name), latest) for number, name in enumerate(PHASES, start=1)]


def _phase(number: int, controls: Controls, flag: Flag | None, latest: Latest) -> Phase:
    name = PHASES[number - 1]
    percent = controls.percents[name]
    status, tone = _status(name, percent, controls)
    step = rules.step_after(name, percent)
    is_turn = number == latest.phase and percent < 100
    return Phase(
        number=number,
        title=str(TITLES[number - 1]),
        meaning=str(MEANINGS[number - 1]),
        percent=percent,
        since=flag.moved_at if flag else None,
        status=status,
        tone=tone,
        is_turn=is_turn,
        next_percent=step,
        ladder=_ladder(number, percent, step),
        told=latest.told if is_turn else [],
        told_at=latest.at if is_turn else None,
    )


def _status(name: str, percent: Decimal, controls: Controls) -> tuple[str, str]:
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
