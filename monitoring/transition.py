"""What the gates of phases 3 and 4 look at: the comparisons, the cohorts, the time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from monitoring import evidence, reports
from monitoring.alerts import freshness as alerts
from monitoring.alerts.models import Alert
from monitoring.evidence import AGREEMENT_WANTED, CONFLICT_ALLOWED, Tally
from monitoring.findings import Finding, Step, found, percent_of, thousands
from monitoring.models import Verdict
from profiles.rollout.decision import BUCKETS
from profiles.rollout.models import PHASES, Change, Flag
from profiles.rollout.sentences import Sentence, listed

# The least that can prove both bounds: with no conflict among 659, the upper bound is below 1 percent.
SAMPLE_WANTED = 659
UNIVERSITY_SAMPLE = 30
SERVED_WANTED = 5
REHEARSAL_LASTS = timedelta(days=30)
_SLOWER, _SLOWER_MS = 1.2, 20.0


def _too_few(gate: str, seen: Tally) -> Finding | None:
    if seen.n >= SAMPLE_WANTED:
        return None
    words = {"n": thousands(seen.n), "wanted": SAMPLE_WANTED}
    return Finding(gate, Verdict.INCONCLUSIVE, Sentence("%(n)s of %(wanted)d comparisons", words), seen.n)


def agreement(step: Step) -> Finding:
    seen = evidence.tally(evidence.recent())
    lower = seen.agreement_bounds[0]
    words = {"bound": percent_of(lower), "wanted": percent_of(AGREEMENT_WANTED), "n": thousands(seen.n)}
    good = Sentence("agreement %(bound)s ≥ %(wanted)s (lower bound, n = %(n)s)", words)
    bad = Sentence("agreement %(bound)s < %(wanted)s (lower bound, n = %(n)s)", words)
    return _too_few("agreement", seen) or found("agreement", lower >= AGREEMENT_WANTED, good, bad, lower)


def conflicts(step: Step) -> Finding:
    seen = evidence.tally(evidence.recent())
    upper = seen.conflict_bounds[1]
    words = {"bound": percent_of(upper), "limit": percent_of(CONFLICT_ALLOWED), "n": thousands(seen.n)}
    good = Sentence("conflicts %(bound)s ≤ %(limit)s (upper bound, n = %(n)s)", words)
    bad = Sentence("conflicts %(bound)s > %(limit)s (upper bound, n = %(n)s)", words)
    return _too_few("conflicts", seen) or found("conflicts", upper <= CONFLICT_ALLOWED, good, bad, upper)


def _against(seen: Tally) -> Sentence:
    words = {
        "agreement": percent_of(seen.agreement_bounds[1]),
        "conflicts": percent_of(seen.conflict_bounds[0]),
        "n": thousands(seen.n),
    }
    return Sentence("agreement at most %(agreement)s, conflicts at least %(conflicts)s (n = %(n)s)", words)


def _worst_universities() -> Iterator[Sentence]:
    for university, seen in evidence.by_university(evidence.recent()).items():
        if university is not None and seen.n >= UNIVERSITY_SAMPLE and seen.is_evidence_against():
            yield Sentence("university %(id)d: %(why)s", {"id": university, "why": _against(seen)})


def universities(step: Step) -> Finding:
    bad = list(_worst_universities())
    return found("universities", not bad, Sentence("no university stands out"), listed(bad[:3]), len(bad))


def quality(step: Step) -> Finding:
    report = reports.quality()
    if not report["total_profiles"]:
        return Finding("quality", Verdict.INCONCLUSIVE, Sentence("no profiles yet"))
    score, limit = report["quality_metrics"]["quality_score"], 100 * settings.PROFILE_QUALITY_ALERT_THRESHOLD
    words = {"score": f"{score:.1f}", "limit": f"{limit:.1f}"}
    good, bad = Sentence("quality %(score)s ≥ %(limit)s", words), Sentence("quality %(score)s < %(limit)s", words)
    return found("quality", score >= limit, good, bad, score)


def rehearsed(step: Step) -> Finding:
    last = Change.objects.filter(action="rehearsal", at__gt=timezone.now() - REHEARSAL_LASTS).first()
    if last is None:
        why = Sentence("the way back was not rehearsed: rollback emergency --rehearse --university N --reason …")
        return Finding("rehearsed", Verdict.INCONCLUSIVE, why)
    days = (timezone.now() - last.at).days
    good = Sentence("days since the way back was rehearsed: %(days)d", {"days": days})
    return Finding("rehearsed", Verdict.PASS, good, days)


def cohort_agreement(step: Step) -> Finding:
    """Whoever would be new must not be worse; like a university, they fail only on evidence."""
    low, high = (int(percent * BUCKETS / 100) for percent in (step.current, step.target))
    seen = evidence.tally(evidence.recent().filter(bucket__gte=low, bucket__lt=high))
    is_bad = seen.n >= UNIVERSITY_SAMPLE and seen.is_evidence_against()
    good = Sentence("nothing speaks against the new cohort (n = %(n)s)", {"n": thousands(seen.n)})
    bad = Sentence("the new cohort: %(why)s", {"why": _against(seen)})
    return found("cohort_agreement", not is_bad, good, bad, seen.n)


def _cohorts(step: Step) -> tuple[dict[str, Any], dict[str, Any]]:
    since = evidence.recent().filter(at__gt=step.since)
    return evidence.speed(since.filter(stage__gte=3)), evidence.speed(since.filter(stage=2))


def _unserved(gate: str, served: dict[str, Any]) -> Finding | None:
    if served["n"] >= SERVED_WANTED:
        return None
    words = {"n": served["n"], "wanted": SERVED_WANTED}
    why = Sentence("%(n)d of %(wanted)d lookups by the cache since the step", words)
    return Finding(gate, Verdict.INCONCLUSIVE, why)


def cohort_errors(step: Step) -> Finding:
    served, direct = _cohorts(step)
    mine = evidence.wilson(served["unnamed"], served["n"])
    theirs = evidence.wilson(direct["unnamed"], direct["n"])
    good = Sentence(
        "%(n)d lookups by the cache, %(unnamed)d without a name", {"n": served["n"], "unnamed": served["unnamed"]}
    )
    bad = Sentence(
        "lookups without a name: at least %(mine)s by the cache, at most %(theirs)s by the direct API",
        {"mine": percent_of(mine[0]), "theirs": percent_of(theirs[1])},
    )
    is_good = not direct["n"] or mine[0] <= theirs[1]
    return _unserved("cohort_errors", served) or found("cohort_errors", is_good, good, bad, mine[0])


def cohort_speed(step: Step) -> Finding:
    served, direct = _cohorts(step)
    if lacking := _unserved("cohort_speed", served):
        return lacking
    mine, theirs = served["p95_ms"], direct["p95_ms"]
    words = {"mine": f"{mine:.0f}", "theirs": "—" if theirs is None else f"{theirs:.0f}"}
    is_good = theirs is None or served["n"] < UNIVERSITY_SAMPLE or mine <= theirs * _SLOWER + _SLOWER_MS
    good = Sentence("p95 %(mine)s ms by the cache, %(theirs)s ms by the direct API", words)
    return found("cohort_speed", is_good, good, Sentence("slower: %(times)s", {"times": good}), mine)


def no_evidence_against(step: Step) -> Finding:
    """The tripwire: what is proven bad, not what is not yet proven good."""
    seen = evidence.tally(evidence.recent())
    if not seen.n:
        return Finding("no_evidence_against", Verdict.INCONCLUSIVE, Sentence("no comparisons"))
    bad = seen.n >= UNIVERSITY_SAMPLE and seen.is_evidence_against()
    good = Sentence("nothing speaks against the cache (n = %(n)s)", {"n": thousands(seen.n)})
    return found("no_evidence_against", not bad, good, _against(seen), seen.agreement)


def dwell(step: Step) -> Finding:
    stayed, wanted = timezone.now() - step.since, settings.ROLLOUT_DWELL
    if stayed >= wanted:
        return Finding("dwell", Verdict.PASS, Sentence("dwell time over"), stayed.total_seconds())
    words = {"stayed": _hours(stayed), "wanted": _hours(wanted)}
    why = Sentence("dwell time %(stayed)s of %(wanted)s h", words)
    return Finding("dwell", Verdict.INCONCLUSIVE, why, stayed.total_seconds())


def _hours(length: timedelta) -> str:
    return f"{length / timedelta(hours=1):.1f}".removesuffix(".0")


def phase3_complete(step: Step) -> Finding:
    flag = Flag.objects.filter(name=PHASES[2]).first()
    if flag is None or flag.percent < 100:
        reached = {"percent": f"{flag.percent.normalize():f}" if flag else "0"}
        why = Sentence("phase 3 is at %(percent)s %%, not at 100 %%", reached)
        return Finding("phase3_complete", Verdict.FAIL, why)
    stayed = timezone.now() - flag.moved_at
    words = {"stayed": _hours(stayed), "wanted": _hours(settings.ROLLOUT_DWELL)}
    if stayed < settings.ROLLOUT_DWELL:
        why = Sentence("phase 3 is at 100 %% for %(stayed)s of %(wanted)s h", words)
        return Finding("phase3_complete", Verdict.INCONCLUSIVE, why)
    good = Sentence("phase 3 is at 100 %% for %(stayed)s h", words)
    return Finding("phase3_complete", Verdict.PASS, good)


def no_alert(step: Step) -> Finding:
    """No open alert, but for those that somebody muted; without a check lately nobody knows."""
    if not alerts.is_fresh():
        why = Sentence("alerts were not checked lately: is the worker running? See manage.py check_alerts")
        return Finding("no_alert", Verdict.INCONCLUSIVE, why)
    holding = list(Alert.objects.holding().order_by("pk"))
    bad = listed(alert.sentence for alert in holding)
    return found("no_alert", not holding, Sentence("no open alert"), bad, len(holding))
