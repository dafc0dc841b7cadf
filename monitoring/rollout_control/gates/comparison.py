"""The gates of phase 3 about cohorts: the names of the new cohort, and the errors and speed of cached lookups."""

from __future__ import annotations

from django.db.models import QuerySet

from config.lib.messages import Message, percent_of, thousands
from monitoring.rollout_control.gates.results import GateResult, TransitionStep
from monitoring.rollout_control.models import Verdict
from monitoring.stats import comparison_stats
from monitoring.stats.comparison_stats import UNIVERSITY_SAMPLE
from profiles.models import Comparison
from profiles.rollout.decision import BUCKETS

SERVED_WANTED = 5
# The units of the gates. Pages show their last results, because counting the comparisons of a week takes long.
UNITS = {"cohort_agreement": "", "cohort_errors": "%", "cohort_speed": "ms"}
_SLOWER, _SLOWER_MS = 1.2, 20.0


def cohort_agreement(step: TransitionStep) -> GateResult:
    """Fail only if enough comparisons prove that the cached names of the employees added by the step are bad."""
    low, high = (int(percent * BUCKETS / 100) for percent in (step.current, step.target))
    stats = comparison_stats.stats_of(comparison_stats.recent().filter(bucket__gte=low, bucket__lt=high))
    is_bad = stats.n >= UNIVERSITY_SAMPLE and stats.is_proven_bad
    good = Message("no evidence against the new cohort (n = %(n)s)", {"n": thousands(stats.n)})
    bad = Message("the new cohort: %(why)s", {"why": stats.favourable_bounds()})
    return GateResult.of("cohort_agreement", not is_bad, good, bad, stats.n)


def cohort_errors(step: TransitionStep) -> GateResult:
    cached, direct = (comparison_stats.speed(cohort) for cohort in _cohorts(step))
    if cached["n"] < SERVED_WANTED:
        return _too_few("cohort_errors", cached["n"])
    lowest = comparison_stats.wilson(cached["unnamed"], cached["n"])[0]
    highest = comparison_stats.wilson(direct["unnamed"], direct["n"])[1]
    counts = {"n": cached["n"], "unnamed": cached["unnamed"]}
    good = Message("%(n)d lookups by the cache, %(unnamed)d without a name", counts)
    bad = Message(
        "lookups without a name: at least %(mine)s by the cache, at most %(theirs)s by the direct API",
        {"mine": percent_of(lowest), "theirs": percent_of(highest)},
    )
    is_good = not direct["n"] or lowest <= highest
    return GateResult.of("cohort_errors", is_good, good, bad, lowest, UNITS["cohort_errors"])


def cohort_speed(step: TransitionStep) -> GateResult:
    cached, direct = (comparison_stats.speed(cohort) for cohort in _cohorts(step))
    if cached["n"] < SERVED_WANTED:
        return _too_few("cohort_speed", cached["n"])
    mine, theirs = cached["p95_ms"], direct["p95_ms"]
    times = {"mine": f"{mine:.0f}", "theirs": "—" if theirs is None else f"{theirs:.0f}"}
    is_good = theirs is None or cached["n"] < UNIVERSITY_SAMPLE or mine <= theirs * _SLOWER + _SLOWER_MS
    good = Message("p95 %(mine)s ms by the cache, %(theirs)s ms by the direct API", times)
    bad = Message("slower: %(times)s", {"times": good})
    return GateResult.of("cohort_speed", is_good, good, bad, mine, UNITS["cohort_speed"])


def _cohorts(step: TransitionStep) -> tuple[QuerySet[Comparison], QuerySet[Comparison]]:
    """Return the comparisons since the last step: those served by the cache, and those served by the direct API."""
    rows = comparison_stats.recent().filter(at__gt=step.since)
    return rows.filter(stage__gte=3), rows.filter(stage=2)


def _too_few(gate: str, n: int) -> GateResult:
    message = Message("%(n)d of %(wanted)d lookups by the cache since the step", {"n": n, "wanted": SERVED_WANTED})
    return GateResult(gate, Verdict.INCONCLUSIVE, message)
