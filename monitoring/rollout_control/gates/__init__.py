"""Run the gates: the conditions for entering a phase, widening it, and staying in it (docs/reference/rollout.md).

Most gates pass while an indicator is within its limit. The gates about the step itself have their own functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import DatabaseError, transaction
from django.utils import timezone

from config.lib.messages import Message, from_columns, to_columns
from monitoring.indicators import rounds
from monitoring.indicators.definitions import INDICATORS
from monitoring.indicators.models import IndicatorReading, Level, Round
from monitoring.rollout_control.gates import comparison, progress
from monitoring.rollout_control.gates.results import Evaluation, GateResult, TransitionStep
from monitoring.rollout_control.labels import GATES, INDICATOR_OF, title_message
from monitoring.rollout_control.models import MESSAGE_LENGTH, GateCheck, Verdict
from profiles import failures
from profiles.rollout import rules
from profiles.rollout.decision import is_monitored
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES

TRIPWIRE = "tripwire"
CHECKS_IN_A_ROW = 3
# Checks that are closer together count as one, because they judge the same numbers.
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
# The tripwires, which the rollout controller checks while a phase is on.
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


def evaluate(phase: int, target: Decimal) -> Evaluation:
    """Run every gate of a step with a fresh round of indicators; do not store the results of the gates."""
    return _evaluate(transition_step(phase, target), rounds.fresh(), {})


def last_evaluation(phase: int, target: Decimal, flags: Mapping[str, Flag], readings: Round) -> Evaluation:
    """Return an evaluation for pages; unlike evaluate(), it uses stored readings and the last results for cohorts.

    A check from before the last move of this phase or of an earlier one does not count: it was for another step.
    """
    step = _step(phase, target, flags.get(rules.phase_name(phase)))
    moves = [flags[name].moved_at for name in PHASES[:phase] if name in flags]
    own = {gate: OWN[gate](step) for gate in _gates_of(step) if gate in OWN and gate not in comparison.UNITS}
    known = own | _last_cohorts(phase, max(moves, default=step.since)) if is_monitored() else {}
    return _evaluate(step, readings, known)


def check(phase: int, target: Decimal) -> Evaluation:
    """Run every gate of a step, store the results and return them; the stored rows serve to count passes in a row."""
    # Read the time before the gates run: if the phase moves meanwhile, these results belong to the earlier step.
    at = timezone.now()
    evaluation = evaluate(phase, target)
    rows = []
    for result in evaluation.results:
        message, sentence = to_columns(result.message, MESSAGE_LENGTH)
        verdict = result.raw or result.verdict
        stored = {"message": message, "sentence": sentence, "value": result.value}
        rows.append(GateCheck(at=at, phase=phase, gate=result.gate, verdict=verdict, **stored))
    GateCheck.objects.bulk_create(rows)
    return evaluation


def check_tripwires(phase: int) -> Evaluation:
    """Run the gates that have to pass while a phase is on; do not store the results."""
    step, readings = transition_step(phase, Decimal(100)), rounds.fresh()
    return Evaluation(step, [run_gate(gate, step, readings) for gate in STAYING.get(phase, ())], readings.at)


def evaluate_raise(phase: int, current: Decimal, target: Decimal) -> tuple[list[dict[str, Any]], Message | None]:
    """Return the gate results for an increase as JSON, and the reason if it is held, else None.

    An increase of more than one step is always held.
    """
    evaluation = evaluate(phase, target)
    step = rules.step_after(PHASES[phase - 1], current)
    if step is not None and target > step:
        params = {"current": rules.format_percent(current), "step": rules.format_percent(step)}
        message = Message("one step at a time: after %(current)s%% comes %(step)s%%", params)
        evaluation.results.insert(0, GateResult("step", Verdict.FAIL, message))
    return evaluation.as_json(), evaluation.hold_message() if evaluation.failing else None


def transition_step(phase: int, target: Decimal) -> TransitionStep:
    return _step(phase, target, Flag.objects.filter(name=rules.phase_name(phase)).first())


def _step(phase: int, target: Decimal, flag: Flag | None) -> TransitionStep:
    current, since = (flag.percent, flag.moved_at) if flag else (Decimal(0), timezone.now())
    return TransitionStep(phase, current, target, since)


def _gates_of(step: TransitionStep) -> tuple[str, ...]:
    return ENTERING[step.phase] + (WIDENING.get(step.phase, ()) if step.current else ())


def _evaluate(step: TransitionStep, readings: Round, known: Mapping[str, GateResult]) -> Evaluation:
    results = [known.get(gate) or run_gate(gate, step, readings) for gate in _gates_of(step)]
    for number, result in enumerate(results):
        # A statistical gate passes only after several passes in a row: one pass among many checks may be chance.
        if result.gate in _IN_A_ROW and result.verdict == Verdict.PASS:
            passed = 1 + passes_in_a_row(step.phase, result.gate, CHECKS_IN_A_ROW - 1)
            if passed < CHECKS_IN_A_ROW:
                results[number] = result.pending(passed, CHECKS_IN_A_ROW)
    return Evaluation(step, results, readings.at)


def run_gate(gate: str, step: TransitionStep, readings: Round) -> GateResult:
    """Return the result of one gate: ERROR if its measurement fails, INCONCLUSIVE while monitoring is off."""
    if not is_monitored():
        return GateResult(gate, Verdict.INCONCLUSIVE, Message("monitoring is off"))
    if gate in INDICATOR_OF:
        return _of_reading(gate, readings[INDICATOR_OF[gate]])
    try:
        with transaction.atomic():
            return OWN[gate](step)
    except DatabaseError as error:
        params = {"title": title_message(GATES[gate]), "error": failures.message_for(type(error).__name__)}
        return GateResult(gate, Verdict.ERROR, Message("%(title)s could not be measured: %(error)s", params))


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
    """Return the cohort gates' results of the last check after a moment; INCONCLUSIVE if there was no check."""
    unchecked = Message("not checked yet since the last step")
    results = {gate: GateResult(gate, Verdict.INCONCLUSIVE, unchecked) for gate in comparison.UNITS}
    rows = GateCheck.objects.filter(gate__in=comparison.UNITS, phase=phase, at__gt=since).order_by("-at")
    for row in reversed(rows[: len(comparison.UNITS)]):
        stored = from_columns(row.message, row.sentence)
        message = stored if isinstance(stored, Message) else Message(stored.replace("%", "%%"))
        unit = comparison.UNITS[row.gate]
        results[row.gate] = GateResult(row.gate, Verdict(row.verdict), message, row.value, unit=unit)
    return results


def passes_in_a_row(phase: int, gate: str, wanted: int) -> int:
    """Return how many of the latest stored checks, at least CHECK_SPACING apart, passed in a row, up to ``wanted``."""
    count, last = 0, timezone.now()
    rows = GateCheck.objects.filter(phase=phase, gate=gate, at__gt=last - CHECKS_WITHIN).values_list("at", "verdict")
    for at, verdict in rows.iterator():
        if count >= wanted or verdict != Verdict.PASS:
            break
        if last - at >= CHECK_SPACING:
            count, last = count + 1, at
    return count
