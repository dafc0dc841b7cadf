"""The gates of phase 3 about cohorts: whether the new one, and the ones served by the cache, fare worse than others."""

from __future__ import annotations

from typing import Any

from config.lib.formats import percent_of, thousands
from config.lib.messages import Message
from monitoring.rollout_control.gates.results import GateResult, TransitionStep, found
from monitoring.rollout_control.models import Verdict
from monitoring.stats import comparison_stats
from monitoring.stats.comparison_stats import UNIVERSITY_SAMPLE
from profiles.rollout.decision import BUCKETS

SERVED_WANTED = 5
# Pages show what the last check found: these are counted over the comparisons of a week.
UNITS = {"cohort_agreement": "", "cohort_errors": "%", "cohort_speed": "ms"}
_SLOWER, _SLOWER_MS = 1.2, 20.0


def cohort_agreement(step: TransitionStep) -> GateResult:
    """Find whether the people who would be new prove the names bad; like a university, they fail only on evidence."""
    low, high = (int(percent * BUCKETS / 100) for percent in (step.current, step.target))
    seen = comparison_stats.stats_of(comparison_stats.recent().filter(bucket__gte=low, bucket__lt=high))
    is_bad = seen.n >= UNIVERSITY_SAMPLE and seen.speaks_against()
    good = Message("nothing speaks against the new cohort (n = %(n)s)", {"n": thousands(seen.n)})
    bad = Message("the new cohort: %(why)s", {"why": seen.reason_against()})
    return found("cohort_agreement", not is_bad, good, bad, seen.n, UNITS["cohort_agreement"])


def cohort_errors(step: TransitionStep) -> GateResult:
    served, direct = _cohorts(step)
    mine = comparison_stats.wilson(served["unnamed"], served["n"])
    theirs = comparison_stats.wilson(direct["unnamed"], direct["n"])
    good = Message(
        "%(n)d lookups by the cache, %(unnamed)d without a name", {"n": served["n"], "unnamed": served["unnamed"]}
    )
    bad = Message(
        "lookups without a name: at least %(mine)s by the cache, at most %(theirs)s by the direct API",
        {"mine": percent_of(mine[0]), "theirs": percent_of(theirs[1])},
    )
    is_good = not direct["n"] or mine[0] <= theirs[1]
    return _unserved("cohort_errors", served) or found(
        "cohort_errors", is_good, good, bad, mine[0], UNITS["cohort_errors"]
    )


def cohort_speed(step: TransitionStep) -> GateResult:
    served, direct = _cohorts(step)
    if lacking := _unserved("cohort_speed", served):
        return lacking
    mine, theirs = served["p95_ms"], direct["p95_ms"]
    words = {"mine": f"{mine:.0f}", "theirs": "—" if theirs is None else f"{theirs:.0f}"}
    is_good = theirs is None or served["n"] < UNIVERSITY_SAMPLE or mine <= theirs * _SLOWER + _SLOWER_MS
    good = Message("p95 %(mine)s ms by the cache, %(theirs)s ms by the direct API", words)
    bad = Message("slower: %(times)s", {"times": good})
    return found("cohort_speed", is_good, good, bad, mine, UNITS["cohort_speed"])


def _cohorts(step: TransitionStep) -> tuple[dict[str, Any], dict[str, Any]]:
    since = comparison_stats.recent().filter(at__gt=step.since)
    return comparison_stats.speed(since.filter(stage__gte=3)), comparison_stats.speed(since.filter(stage=2))


def _unserved(gate: str, served: dict[str, Any]) -> GateResult | None:
    if served["n"] >= SERVED_WANTED:
        return None
    words = {"n": served["n"], "wanted": SERVED_WANTED}
    why = Message("%(n)d of %(wanted)d lookups by the cache since the step", words)
    return GateResult(gate, Verdict.INCONCLUSIVE, why)
