"""The history of a step's gates over the last hours, and forecasts of when the gates that do not pass will pass."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.utils import timezone

from config.lib.messages import Message, thousands
from monitoring.indicators.trends import HOURS, Moment, Trend, moments_of
from monitoring.indicators.units import with_unit
from monitoring.rollout_control import gates
from monitoring.rollout_control.gates import CHECKS_IN_A_ROW, Evaluation, GateResult
from monitoring.rollout_control.labels import INDICATOR_OF
from monitoring.rollout_control.models import GateCheck, Verdict
from profiles.rollout.monitored_period import monitored_since
from profiles.rollout.presenters import duration

_RATE_WINDOW = timedelta(hours=1)
_LEAST_RATED = timedelta(minutes=1)
_NO_TIME_YET = Message("no forecast of the time yet: too few measurements")
_NO_TIME = Message("no forecast of the time: nothing new in the last hour")
_NEVER = Message("no forecast: at the current share, the gate would not pass even with more comparisons")


@dataclass(frozen=True, slots=True)
class GateHistory:
    """The chart of a gate, if it measures a number, and the forecast for a gate that does not pass."""

    trend: Trend | None
    forecast: Message | None


def history(evaluation: Evaluation) -> dict[str, GateHistory]:
    """Return the history and the forecast of each gate, by gate.

    The history begins at the last resume, at most HOURS ago. It consists of the indicator's readings or, for a gate
    without an indicator, of its stored checks.
    """
    now = timezone.now()
    since = max(now - HOURS, monitored_since(HOURS))
    results = {result.gate: result for result in evaluation.results}
    readings = moments_of([INDICATOR_OF[gate] for gate in results if gate in INDICATOR_OF], since)
    moments = {gate: readings.get(INDICATOR_OF[gate], []) for gate in results if gate in INDICATOR_OF}
    step = evaluation.step
    checks = GateCheck.objects.filter(phase=step.phase, gate__in=gates.OWN.keys() & results)
    checks = checks.filter(at__gt=max(since, step.since)).order_by("at")
    for gate, at, value, limit, n in checks.values_list("gate", "at", "value", "limit", "n"):
        # A chart must not mix bounds of agreement with bounds of conflicts.
        is_same = gates.is_agreement(gate, limit) == gates.is_agreement(gate, results[gate].limit)
        moments.setdefault(gate, []).append(Moment(at, value if is_same else None, n))
    return {
        gate: GateHistory(_trend(result, moments.get(gate, []), since, now), forecast(result, moments.get(gate, [])))
        for gate, result in results.items()
    }


def _trend(result: GateResult, moments: list[Moment], since: datetime, until: datetime) -> Trend | None:
    if result.value is None or result.unit == "bool":
        return None
    # With too small a sample, the gate's number is the size of the sample.
    if result.value == result.n:
        moments = [Moment(moment.at, moment.n) for moment in moments]
    elif result.gate == "cohort_agreement":
        # An earlier release stored the sample size as the value. Other values, such as evictions, may well exceed 1.
        moments = [moment for moment in moments if moment.value is None or moment.value <= 1]
    return Trend.of(moments, [result.limit], partial(with_unit, unit=result.unit), since=since, until=until)


def forecast(result: GateResult, moments: list[Moment]) -> Message | None:
    """Return a message with what the gate still lacks, and the time until it passes at the last hour's rate.

    Return None if the gate passes, or if there is nothing to forecast.
    """
    if result.verdict == Verdict.PASS:
        return None
    if result.raw == Verdict.PASS:
        passed = int(result.message.params["passed"])
        left = CHECKS_IN_A_ROW - passed
        return Message(
            "checks left: %(n)d, ≈ %(time)s", {"n": left, "time": duration(left * settings.MONITORING_CHECK_INTERVAL)}
        )
    if result.unit == "h" and result.value is not None and result.limit is not None:
        return Message("≈ %(time)s", {"time": duration(timedelta(seconds=result.limit - result.value))})
    if result.needed is None or result.n is None or result.n >= result.needed:
        return None
    if math.isinf(result.needed):
        return _NEVER
    missing = math.ceil(result.needed - result.n)
    rate = _rate(moments)
    when = _NO_TIME_YET if rate is None else _NO_TIME
    if rate and rate > 0:
        when = Message("≈ %(time)s", {"time": duration(timedelta(seconds=missing / rate))})
    return Message("≈ %(n)s more needed, %(when)s", {"n": thousands(missing), "when": when})


def _rate(moments: list[Moment]) -> float | None:
    """Return how many observations per second the sample gained in the last hour; None for too few measurements."""
    counted = [(moment.at, moment.n) for moment in moments if moment.n is not None]
    recent = [one for one in counted if one[0] >= counted[-1][0] - _RATE_WINDOW]
    if len(recent) < 2 or recent[-1][0] - recent[0][0] < _LEAST_RATED:
        return None
    return (recent[-1][1] - recent[0][1]) / (recent[-1][0] - recent[0][0]).total_seconds()
