"""The gates: the conditions for entering a phase, raising its percentage and staying in it (docs/reference/rollout.md).

Most gates pass while an indicator is within its limit; those without an indicator are functions in this module (OWN).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from config.lib import clock
from config.lib.messages import (
    Message,
    from_columns,
    join_messages,
    parse_message,
    percent_of,
    thousands,
    title_message,
    to_columns,
)
from monitoring.alerts import engine
from monitoring.indicators import rounds
from monitoring.indicators.definitions import INDICATORS
from monitoring.indicators.measurements import FIGURES, NOT_CHECKED, SAMPLE_NEEDED, UNIVERSITIES
from monitoring.indicators.models import IndicatorReading, Level, Round
from monitoring.rollout_control.labels import GATES, INDICATOR_OF
from monitoring.rollout_control.models import MESSAGE_LENGTH, GateCheck, Verdict
from monitoring.stats import comparison_stats
from monitoring.stats.comparison_stats import AGREEMENT_WANTED, CONFLICT_ALLOWED, UNIVERSITY_SAMPLE
from profiles import failures
from profiles.rollout import rules
from profiles.rollout.decision import BUCKETS, is_monitored
from profiles.rollout.models import Change, Flag
from profiles.rollout.monitored_period import monitored_since
from profiles.rollout.phases import PHASES

TRIPWIRE = "tripwire"
CHECKS_IN_A_ROW = 3
# Checks that are closer together count as one, because they judge the same numbers.
CHECK_SPACING = timedelta(minutes=1)
CHECKS_WITHIN = timedelta(days=1)
REHEARSAL_LASTS = timedelta(days=30)
SERVED_WANTED = 5
# The units of the cohort gates. Pages show their last results, because counting a week's comparisons takes long.
COHORT_UNITS = {"cohort_agreement": "%", "cohort_errors": "%", "cohort_speed": "ms"}
_SLOWER, _SLOWER_MS = 1.2, 20.0

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
_IN_A_ROW = {"agreement", "conflicts"}
_VERDICTS = {Level.OK: Verdict.PASS, Level.UNKNOWN: Verdict.INCONCLUSIVE, Level.ERROR: Verdict.ERROR}


@dataclass(frozen=True, slots=True)
class TransitionStep:
    """A change of a phase from the ``current`` percentage, which was set at ``since``, to the ``target`` percentage."""

    phase: int
    current: Decimal
    target: Decimal
    since: datetime


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one gate.

    If ``verdict`` depends on earlier checks too, ``raw`` is the verdict of this check alone. ``value`` and ``limit``
    are in the base unit of ``unit``; shares are 0 to 1. ``comparison`` is the operator, such as ≤, by which a good
    value compares with the limit. ``n`` is the size of the sample. ``needed`` is the size at which the gate may pass if
    the share stays as it is: infinity if it cannot pass at any size, None if its result does not depend on the size.
    ``universities`` are the IDs of the universities that the gate fails for, the worst first, and ``figures`` a message
    with the figures of one of them.
    """

    gate: str
    verdict: Verdict
    message: Message
    value: float | None = None
    raw: Verdict | None = None
    limit: float | None = None
    comparison: str = ""
    unit: str = ""
    n: int | None = None
    needed: float | None = None
    universities: tuple[int, ...] = ()
    figures: Message | None = None

    def as_json(self) -> dict[str, Any]:
        message, sentence = to_columns(self.message, MESSAGE_LENGTH)
        fields = {"gate": self.gate, "verdict": str(self.verdict), "message": message, "value": self.value}
        return fields | {"sentence": sentence}

    @staticmethod
    def stored_message(stored: dict[str, Any]) -> str:
        """Return the message of a result stored by ``as_json``, in the active language."""
        return str(from_columns(stored["message"], stored.get("sentence")))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of all gates of one step; ``measured_at`` is the time when their indicators were measured."""

    step: TransitionStep
    results: list[GateResult]
    measured_at: datetime

    @property
    def failing(self) -> list[GateResult]:
        return [result for result in self.results if result.verdict != Verdict.PASS]

    def hold_message(self) -> Message:
        """Return a one-line message for operators: the held phase, and the messages of the gates that did not pass."""
        params = {"phase": self.step.phase, "percent": rules.format_percent(self.step.current)}
        reasons = [result.message for result in self.failing]
        return Message("Phase %(phase)d is held at %(percent)s%%: %(reasons)s", {**params, "reasons": reasons})

    def as_json(self) -> list[dict[str, Any]]:
        return [result.as_json() for result in self.results]


def evaluate(phase: int, target: Decimal) -> Evaluation:
    """Run every gate of a step with fresh readings of the indicators, without storing the results.

    If the target is more than one step away, add a failed result for the gate ``step``.
    """
    evaluation = _evaluate(transition_step(phase, target), rounds.fresh(), {})
    current = evaluation.step.current
    step = rules.step_after(PHASES[phase - 1], current)
    if step is not None and target > step:
        params = {"current": rules.format_percent(current), "step": rules.format_percent(step)}
        message = Message("one step at a time: after %(current)s%% comes %(step)s%%", params)
        evaluation.results.insert(0, GateResult("step", Verdict.FAIL, message))
    return evaluation


def last_evaluation(phase: int, target: Decimal, flags: Mapping[str, Flag], readings: Round) -> Evaluation:
    """Evaluate a step for a page, from the indicators in ``readings`` and the stored results of the cohort gates.

    A cohort result does not count if this or an earlier phase has changed since: it is about another step's cohort.
    """
    step = transition_step(phase, target, flags)
    known = {}
    if is_monitored():
        known = {gate: OWN[gate](step) for gate in _gates_of(step) if gate in OWN and gate not in COHORT_UNITS}
        moves = [flags[name].moved_at for name in PHASES[:phase] if name in flags]
        known |= _last_cohorts(phase, max(moves, default=step.since), monitored_since())
    return _evaluate(step, readings, known)


def check(phase: int, target: Decimal) -> Evaluation:
    """Run every gate of a step, store the results and return them. Some gates need several stored passes in a row."""
    # Read the time before the gates run: if the phase changes while they run, the results belong to the earlier step.
    at = timezone.now()
    evaluation = evaluate(phase, target)
    GateCheck.objects.bulk_create(
        GateCheck(
            at=at,
            phase=phase,
            n=result.n,
            limit=result.limit,
            **result.as_json() | {"verdict": result.raw or result.verdict},
        )
        for result in evaluation.results
    )
    return evaluation


def check_tripwires(phase: int) -> Evaluation:
    """Check a phase's tripwires, the gates that must pass while it is on, without storing the results."""
    step, readings = transition_step(phase, Decimal(100)), rounds.fresh()
    return Evaluation(step, [run_gate(gate, step, readings) for gate in STAYING.get(phase, ())], readings.at)


def evaluate_raise(phase: int, _current: Decimal, target: Decimal) -> tuple[list[dict[str, Any]], Message | None]:
    """Return an increase's gate results as JSON, and why the increase is held, or None if all gates pass.

    An increase by more than one step is always held.
    """
    evaluation = evaluate(phase, target)
    return evaluation.as_json(), evaluation.hold_message() if evaluation.failing else None


def transition_step(phase: int, target: Decimal, flags: Mapping[str, Flag] | None = None) -> TransitionStep:
    name = rules.phase_name(phase)
    flag = Flag.objects.filter(name=name).first() if flags is None else flags.get(name)
    current, since = (flag.percent, flag.moved_at) if flag else (Decimal(0), timezone.now())
    return TransitionStep(phase, current, target, since)


def _gates_of(step: TransitionStep) -> tuple[str, ...]:
    return ENTERING[step.phase] + (WIDENING.get(step.phase, ()) if step.current else ())


def _evaluate(step: TransitionStep, readings: Round, known: Mapping[str, GateResult]) -> Evaluation:
    results = [known.get(gate) or run_gate(gate, step, readings) for gate in _gates_of(step)]
    for number, result in enumerate(results):
        # A statistical gate passes only after several passes in a row: a single pass may be chance.
        if result.gate in _IN_A_ROW and result.verdict == Verdict.PASS:
            passed = 1 + passes_in_a_row(step.phase, result.gate, CHECKS_IN_A_ROW - 1, readings.at)
            if passed < CHECKS_IN_A_ROW:
                params = {"message": result.message, "passed": passed, "wanted": CHECKS_IN_A_ROW}
                message = Message("%(message)s, consecutive checks passed: %(passed)d of %(wanted)d", params)
                results[number] = replace(result, verdict=Verdict.INCONCLUSIVE, message=message, raw=Verdict.PASS)
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
    stored = reading.data.get(SAMPLE_NEEDED, 0)
    needed: float | None = math.inf if stored is None else stored or None
    result = GateResult(gate, verdict, reading.sentence, reading.value, n=reading.n, needed=needed)
    figures = parse_message(reading.data.get(FIGURES))
    result = replace(result, universities=tuple(reading.data.get(UNIVERSITIES, ())), figures=figures)
    if reading.level == Level.UNKNOWN and indicator.least > 1:
        return replace(result, value=reading.n, limit=indicator.least, comparison="≥")
    return replace(result, unit=indicator.unit, limit=reading.warning_limit, comparison=indicator.comparison)


def _last_cohorts(phase: int, moved_at: datetime, resumed_at: datetime) -> dict[str, GateResult]:
    """Return the cohort gates' last results since ``moved_at`` and ``resumed_at``; INCONCLUSIVE if there are none."""
    unchecked = Message("not checked yet since the last step")
    if resumed_at > moved_at:
        unchecked = NOT_CHECKED
    results = {gate: GateResult(gate, Verdict.INCONCLUSIVE, unchecked) for gate in COHORT_UNITS}
    since = max(moved_at, resumed_at)
    rows = GateCheck.objects.filter(gate__in=COHORT_UNITS, phase=phase, at__gt=since).order_by("-pk")
    for row in reversed(rows[: len(COHORT_UNITS)]):
        stored = from_columns(row.message, row.sentence)
        message = stored if isinstance(stored, Message) else Message(stored.replace("%", "%%"))
        results[row.gate] = GateResult(
            row.gate,
            Verdict(row.verdict),
            message,
            # An earlier release stored the sample size as the value of a share.
            None if COHORT_UNITS[row.gate] == "%" and (row.value or 0) > 1 else row.value,
            limit=row.limit,
            comparison="" if row.limit is None else "≥" if is_agreement(row.gate, row.limit) else "≤",
            unit=COHORT_UNITS[row.gate],
            n=row.n,
            needed=SERVED_WANTED if row.verdict == Verdict.INCONCLUSIVE else None,
        )
    return results


def passes_in_a_row(phase: int, gate: str, wanted: int, measured_at: datetime) -> int:
    """Return how many of the latest stored checks of the gate passed in a row, up to ``wanted``.

    Checks count only if they are at least CHECK_SPACING apart, and at least as long before ``measured_at``, the time of
    the present readings. Otherwise, two checks could have used the same readings.
    """
    count, last = 0, measured_at
    rows = GateCheck.objects.filter(phase=phase, gate=gate, at__gt=monitored_since(CHECKS_WITHIN))
    for at, verdict in rows.order_by("-pk").values_list("at", "verdict").iterator():
        if count >= wanted or verdict != Verdict.PASS:
            break
        if last - at >= CHECK_SPACING:
            count, last = count + 1, at
    return count


def cohort_agreement(step: TransitionStep) -> GateResult:
    """Return FAIL if comparisons prove that too many cached names are wrong among the employees that the step adds.

    Return PASS otherwise, even if there are too few comparisons for such a proof.
    """
    low, high = (int(percent * BUCKETS / 100) for percent in (step.current, step.target))
    stats = comparison_stats.stats_of(comparison_stats.counted().filter(bucket__gte=low, bucket__lt=high))
    verdict, message = (
        Verdict.PASS,
        Message("no evidence of wrong names in the new cohort (n = %(n)s)", {"n": thousands(stats.n)}),
    )
    result = GateResult("cohort_agreement", verdict, message, n=stats.n, unit=COHORT_UNITS["cohort_agreement"])
    if stats.n < UNIVERSITY_SAMPLE:
        return result
    # The upper bound of agreement can prove that the cohort is wrong; without enough comparisons, there is no value.
    value = stats.agreement_bounds[1]
    result = replace(result, value=value, limit=AGREEMENT_WANTED, comparison="≥")
    if not stats.is_proven_bad:
        return result
    message = Message("the new cohort: %(why)s", {"why": stats.favourable_bounds()})
    result = replace(result, verdict=Verdict.FAIL, message=message)
    if value < AGREEMENT_WANTED:
        return result
    # Only the lower bound of conflicts proves that the cohort is wrong.
    return replace(result, value=stats.conflict_bounds[0], limit=CONFLICT_ALLOWED, comparison="≤")


def is_agreement(gate: str, limit: float | None) -> bool:
    """Return whether the gate's value is a bound of agreement, rather than of conflicts or of something else."""
    return gate == "cohort_agreement" and limit != CONFLICT_ALLOWED


def cohort_errors(step: TransitionStep) -> GateResult:
    cached, direct = _speeds(step)
    if cached["n"] < SERVED_WANTED:
        return _too_few("cohort_errors", cached["n"], step)
    lowest = comparison_stats.wilson(cached["unnamed"], cached["n"])[0]
    highest = comparison_stats.wilson(direct["unnamed"], direct["n"])[1]
    counts = {"n": cached["n"], "unnamed": cached["unnamed"], "bound": percent_of(lowest)}
    found = Message("%(n)d lookups through the cache, %(unnamed)d found no name", counts)
    if cached["unnamed"]:
        found = Message(
            "%(n)d lookups through the cache, %(unnamed)d found no name (share ≥ %(bound)s, lower bound)", counts
        )
    verdict, message = Verdict.PASS, found
    if direct["n"] and lowest > highest:
        verdict, message = (
            Verdict.FAIL,
            Message(
                "lookups that found no name: cache ≥ %(mine)s (lower bound), direct API ≤ %(theirs)s (upper bound)",
                {"mine": percent_of(lowest), "theirs": percent_of(highest)},
            ),
        )
    limit = highest if direct["n"] else None
    return GateResult(
        "cohort_errors",
        verdict,
        message,
        lowest,
        limit=limit,
        comparison="≤" if direct["n"] else "",
        unit=COHORT_UNITS["cohort_errors"],
        n=cached["n"],
    )


def cohort_speed(step: TransitionStep) -> GateResult:
    cached, direct = _speeds(step)
    if cached["n"] < SERVED_WANTED:
        return _too_few("cohort_speed", cached["n"], step)
    mine, theirs = cached["p95_ms"], direct["p95_ms"]
    times = {"mine": f"{mine:.0f}", "theirs": "—" if theirs is None else f"{theirs:.0f}"}
    message = Message("p95 %(mine)s ms through the cache, %(theirs)s ms through the direct API", times)
    verdict = Verdict.PASS
    limit = None if theirs is None else theirs * _SLOWER + _SLOWER_MS
    if limit is not None and cached["n"] >= UNIVERSITY_SAMPLE and mine > limit:
        verdict, message = Verdict.FAIL, Message("slower: %(times)s", {"times": message})
    return GateResult(
        "cohort_speed",
        verdict,
        message,
        mine,
        limit=limit,
        comparison="" if limit is None else "≤",
        unit=COHORT_UNITS["cohort_speed"],
        n=cached["n"],
    )


def _speeds(step: TransitionStep) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the speed of lookups through the cache, and through the direct API, since the last step or resume."""
    rows = comparison_stats.counted().filter(at__gt=step.since)
    return comparison_stats.speed(rows.filter(stage__gte=3)), comparison_stats.speed(rows.filter(stage=2))


def _too_few(gate: str, n: int, step: TransitionStep) -> GateResult:
    params = {"n": n, "wanted": SERVED_WANTED}
    message = Message("%(n)d of %(wanted)d lookups through the cache since the step", params)
    if monitored_since() > step.since:
        message = Message("%(n)d of %(wanted)d lookups through the cache since the rollout resumed", params)
    return GateResult(gate, Verdict.INCONCLUSIVE, message, n=n, needed=SERVED_WANTED)


def dwell(step: TransitionStep) -> GateResult:
    stayed, wanted = clock.age(step.since), settings.ROLLOUT_DWELL
    verdict, message = Verdict.PASS, Message("dwell time over")
    if stayed < wanted:
        params = _lengths(stayed, wanted)
        verdict, message = Verdict.INCONCLUSIVE, Message("dwell time %(stayed)s of %(wanted)s", params)
    seconds, limit = stayed.total_seconds(), wanted.total_seconds()
    return GateResult("dwell", verdict, message, seconds, limit=limit, comparison="≥", unit="h")


def phase3_complete(step: TransitionStep) -> GateResult:
    phase3 = transition_step(3, Decimal(100))
    stayed = clock.age(phase3.since)
    params = _lengths(stayed, settings.ROLLOUT_DWELL)
    verdict, message = Verdict.PASS, Message("phase 3 has been at 100%% for %(stayed_long)s", params)
    if phase3.current < 100:
        percent = rules.format_percent(phase3.current)
        verdict, message = Verdict.FAIL, Message("phase 3 is at %(percent)s%%, not at 100%%", {"percent": percent})
    elif stayed < settings.ROLLOUT_DWELL:
        message = Message("phase 3 has been at 100%% for %(stayed)s of %(wanted)s", params)
        seconds, limit = stayed.total_seconds(), settings.ROLLOUT_DWELL.total_seconds()
        return GateResult(
            "phase3_complete", Verdict.INCONCLUSIVE, message, seconds, limit=limit, comparison="≥", unit="h"
        )
    return GateResult("phase3_complete", verdict, message)


def rehearsed(step: TransitionStep) -> GateResult:
    last = Change.objects.filter(action="rehearsal", at__gt=timezone.now() - REHEARSAL_LASTS).first()
    if last is None:
        params = {"days": REHEARSAL_LASTS.days}
        message = Message("rollback not rehearsed in the last %(days)d days", params)
        return GateResult("rehearsed", Verdict.INCONCLUSIVE, message)
    days = clock.age(last.at).days
    message = (
        Message("rollback rehearsed %(days)d d ago", {"days": days}) if days else Message("rollback rehearsed today")
    )
    return GateResult("rehearsed", Verdict.PASS, message, days, limit=REHEARSAL_LASTS.days, comparison="≤", unit="d")


def no_alert(step: TransitionStep) -> GateResult:
    """Return FAIL while an alert holds the rollout; INCONCLUSIVE if the alerts have not been checked lately."""
    resumed_at, check = monitored_since(), engine.last_check()
    if check.is_late or check.at is None or check.at <= resumed_at:
        late = Message("alerts have not been checked recently: is the task worker running?")
        return GateResult("no_alert", Verdict.INCONCLUSIVE, late if check.is_late else NOT_CHECKED)
    holding, known = engine.holding_alerts(resumed_at)
    message = join_messages(alert.sentence for alert in holding) if holding else Message("no open alert")
    if known and not holding:
        message = Message("no alerts since the rollout resumed; older open alerts: %(count)d", {"count": len(known)})
    verdict = Verdict.FAIL if holding else Verdict.PASS
    return GateResult("no_alert", verdict, message, len(holding), limit=0, comparison="≤")


def unit_of_length(seconds: float) -> str:
    """Return the unit for a dwell time: h, min or s. A short dwell time, as in trials, would be 0 if shown in hours."""
    return next((unit for unit, least in (("h", 3600), ("min", 600)) if seconds >= least), "s")


def _lengths(stayed: timedelta, wanted: timedelta) -> dict[str, str | Message]:
    """Return both durations as parameters for a message, in the unit that fits ``wanted``."""
    text, size = {
        "h": (Message("%(n)s h"), 3600),
        "min": (Message("%(n)s min"), 60),
        "s": (Message("%(n)s s"), 1),
    }[unit_of_length(wanted.total_seconds())]
    numbers = [f"{max(length.total_seconds(), 0) / size:.1f}".removesuffix(".0") for length in (stayed, wanted)]
    long, limit = (replace(text, params={"n": number}) for number in numbers)
    return {"stayed": numbers[0], "stayed_long": long, "wanted": limit}


OWN: dict[str, Callable[[TransitionStep], GateResult]] = {
    gate.__name__: gate
    for gate in (cohort_agreement, cohort_errors, cohort_speed, dwell, phase3_complete, rehearsed, no_alert)
}
