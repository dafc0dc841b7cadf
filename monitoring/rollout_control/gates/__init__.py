"""Run the gates: what must hold before a phase is entered or widened, and while it is on (docs/reference/rollout.md).

Most of them ask whether an indicator is within its limit; what depends on the step itself has a function of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import DatabaseError, transaction
from django.utils import timezone

from config.lib.messages import Message, from_columns, to_columns
from monitoring.indicators import rounds
from monitoring.indicators.definitions import INDICATORS
from monitoring.indicators.models import IndicatorReading, Level, Round
from monitoring.rollout_control.gate_titles import GATES, INDICATOR_OF, title_message
from monitoring.rollout_control.gates import comparison, progress
from monitoring.rollout_control.gates.results import GateResult, Judgement, TransitionStep
from monitoring.rollout_control.models import MESSAGE_LENGTH, GateCheck, Verdict
from profiles import failures
from profiles.rollout.decision import is_monitored
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import phase_name

TRIPWIRE = "tripwire"
CHECKS_IN_A_ROW = 3
# Looking twice at the same numbers is one check.
CHECK_SPACING = timedelta(minutes=1)
CHECKS_WITHIN = timedelta(days=1)

_COLLECTING = ("updates_arrive", "few_evictions")
_COMPARED = ("agreement", "conflicts", "universities", "quality")

ENTERING: dict[int, tuple[str, ...]] = {
    1: ("migrated", "index_valid", "redis_answers", "secret_set", "monitoring_on"),
    2: ("round_trip", "inbox_lag", "webhook_errors"),
    3: (*_COLLECTING, *_COMPARED, "rehearsed"),
    4: ("phase3_complete", "no_alert"),
}
WIDENING: dict[int, tuple[str, ...]] = {
    3: ("cohort_agreement", "cohort_errors", "cohort_speed", "dwell"),
    4: ("dwell",),
}
# What the conductor watches while a phase is on.
STAYING: dict[int, tuple[str, ...]] = {
    2: _COLLECTING,
    3: ("no_evidence_against", "cohort_errors", "cohort_speed"),
    4: ("no_alert",),
}
OWN: dict[str, Callable[[TransitionStep], GateResult]] = {
    gate.__name__: gate
    for gate in (
        comparison.cohort_agreement, comparison.cohort_errors, comparison.cohort_speed,
        progress.dwell, progress.phase3_complete, progress.rehearsed, progress.no_alert,
    )
}  # fmt: skip
_IN_A_ROW = {"agreement", "conflicts"}
_VERDICTS = {Level.OK: Verdict.PASS, Level.UNKNOWN: Verdict.INCONCLUSIVE, Level.ERROR: Verdict.ERROR}


def judge(phase: int, target: Decimal) -> Judgement:
    """Ask every gate of a step, by a fresh round of the indicators; nothing else is written."""
    step = transition_step(phase, target)
    return _judgement(step, rounds.fresh(), {})


def last_judged(phase: int, target: Decimal, flags: Mapping[str, Flag], readings: Round) -> Judgement:
    """Return what judge() says, for pages: by a stored round, and for the cohorts by the last check of this step.

    What was checked before the phase moved, or one that bounds it, was another step.
    """
    step = _step(phase, target, flags.get(phase_name(phase)))
    moves = [flags[name].moved_at for name in PHASES[:phase] if name in flags]
    own = {gate: OWN[gate](step) for gate in _gates_of(step) if gate in OWN and gate not in comparison.UNITS}
    known = own | _last_cohorts(phase, max(moves, default=step.since)) if is_monitored() else {}
    return _judgement(step, readings, known)


def check(phase: int, target: Decimal) -> Judgement:
    """Ask every gate and store what each found: checks in a row are counted by these rows."""
    # The moment before they look: a step taken while they do is none that they judged.
    at = timezone.now()
    judgement = judge(phase, target)
    GateCheck.objects.bulk_create(_row(result, at=at, phase=phase) for result in judgement.findings)
    return judgement


def watch(phase: int) -> Judgement:
    """Ask what has to stay true while a phase is on."""
    step, readings = transition_step(phase, Decimal(100)), rounds.fresh()
    return Judgement(step, [run_gate(gate, step, readings) for gate in STAYING.get(phase, ())], readings.at)


def transition_step(phase: int, target: Decimal) -> TransitionStep:
    return _step(phase, target, Flag.objects.filter(name=phase_name(phase)).first())


def _step(phase: int, target: Decimal, flag: Flag | None) -> TransitionStep:
    return TransitionStep(
        phase, flag.percent if flag else Decimal(0), target, flag.moved_at if flag else timezone.now()
    )


def _gates_of(step: TransitionStep) -> tuple[str, ...]:
    return ENTERING[step.phase] + (WIDENING.get(step.phase, ()) if step.current else ())


def _judgement(step: TransitionStep, readings: Round, known: Mapping[str, GateResult]) -> Judgement:
    findings = [known.get(gate) or run_gate(gate, step, readings) for gate in _gates_of(step)]
    return Judgement(step, [_in_a_row(step, result) for result in findings], readings.at)


def run_gate(gate: str, step: TransitionStep, readings: Round) -> GateResult:
    """Return what the gate finds; one that cannot look is an error, and without monitoring nobody looks."""
    if not is_monitored():
        return GateResult(gate, Verdict.INCONCLUSIVE, Message("monitoring is off"))
    if gate in INDICATOR_OF:
        return _of_reading(gate, readings[INDICATOR_OF[gate]])
    try:
        with transaction.atomic():
            return OWN[gate](step)
    except DatabaseError as error:
        words = {"title": title_message(GATES[gate]), "error": failures.message_for(type(error).__name__)}
        return GateResult(gate, Verdict.ERROR, Message("%(title)s could not be measured: %(error)s", words))


def _of_reading(gate: str, reading: IndicatorReading) -> GateResult:
    indicator, verdict = INDICATORS[reading.name], _VERDICTS.get(Level(reading.level), Verdict.FAIL)
    if reading.level == Level.UNKNOWN and indicator.least > 1:
        return GateResult(gate, verdict, reading.sentence, reading.n, limit=indicator.least, comparison="≥")
    return GateResult(
        gate,
        verdict,
        reading.sentence,
        reading.value,
        limit=reading.warning_limit,
        comparison=indicator.comparison,
        unit=indicator.unit,
    )


def _last_cohorts(phase: int, since: datetime) -> dict[str, GateResult]:
    """Return what the last check after a moment found of the cohorts; before it, that none was made."""
    unasked = Message("not checked yet since the last step")
    found = {gate: GateResult(gate, Verdict.INCONCLUSIVE, unasked) for gate in comparison.UNITS}
    rows = GateCheck.objects.filter(gate__in=comparison.UNITS, phase=phase, at__gt=since).order_by("-at")
    for row in reversed(rows[: len(comparison.UNITS)]):
        message = from_columns(row.message, row.sentence)
        sentence = message if isinstance(message, Message) else Message(message.replace("%", "%%"))
        found[row.gate] = GateResult(
            row.gate, Verdict(row.verdict), sentence, row.value, unit=comparison.UNITS[row.gate]
        )
    return found


def _row(result: GateResult, *, at: datetime, phase: int) -> GateCheck:
    message, sentence = to_columns(result.sentence, MESSAGE_LENGTH)
    return GateCheck(
        at=at,
        phase=phase,
        gate=result.gate,
        verdict=result.raw or result.verdict,
        message=message,
        sentence=sentence,
        value=result.value,
    )


def passes_before(phase: int, gate: str, wanted: int) -> int:
    """Return how many of the latest checks passed in a row, as far as ``wanted``."""
    count, last = 0, timezone.now()
    rows = GateCheck.objects.filter(phase=phase, gate=gate, at__gt=last - CHECKS_WITHIN).values_list("at", "verdict")
    for at, verdict in rows.iterator():
        if count >= wanted or verdict != Verdict.PASS:
            break
        if last - at >= CHECK_SPACING:
            count, last = count + 1, at
    return count


def _in_a_row(step: TransitionStep, result: GateResult) -> GateResult:
    """Let a statistical gate pass only with the checks before: whoever looks often enough sees one good moment."""
    if result.gate not in _IN_A_ROW or result.verdict != Verdict.PASS:
        return result
    passed = 1 + passes_before(step.phase, result.gate, CHECKS_IN_A_ROW - 1)
    return result if passed >= CHECKS_IN_A_ROW else result.only_after(passed, CHECKS_IN_A_ROW)
