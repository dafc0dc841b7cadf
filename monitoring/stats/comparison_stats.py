"""Compute agreement, coverage and error rate from the stored comparisons, with confidence bounds."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Avg, Case, Count, FloatField, QuerySet, Value, When
from django.utils import timezone

from config.lib.messages import Message, percent_of, thousands
from profiles.models import Comparison, ComparisonOutcome, ProfileSource
from profiles.rollout.decision import BUCKETS
from profiles.rollout.monitored_period import monitored_since

# For a two-sided confidence level of 99%.
Z = 2.58
AGREEMENT_WANTED = 0.98
CONFLICT_ALLOWED = 0.01
# The smallest sample that can prove both limits: with no conflict in 659 comparisons, the upper bound is below 1%.
SAMPLE_WANTED = 659
UNIVERSITY_SAMPLE = 30
_LARGEST_SAMPLE = 1e9
WINDOW = timedelta(days=7)
AGES = (1, 3, 7, 14, 30, 60, 90)

_AGREEING = (ComparisonOutcome.AGREE, ComparisonOutcome.EQUIVALENT, ComparisonOutcome.CACHE_RICHER)
_COMPARED = (*_AGREEING, ComparisonOutcome.API_RICHER, ComparisonOutcome.CONFLICT)
_FAILED = (ComparisonOutcome.API_ERROR, ComparisonOutcome.CACHE_ERROR, ComparisonOutcome.TIMEOUT)


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Return the lower and upper bound of a proportion by the Wilson score interval; 0 and 1 for an empty sample."""
    if not n:
        return 0.0, 1.0
    share, square = successes / n, Z * Z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = Z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def sample_needed(share: float | None, holds: Callable[[tuple[float, float]], bool]) -> int | None:
    """Return the sample size at which ``holds`` accepts the confidence bounds if the share of successes stays the same.

    The result is at least SAMPLE_WANTED, and at most 1% larger than necessary. Return None if no sample of up to a
    billion is large enough, and SAMPLE_WANTED if the share is None.
    """
    n = float(SAMPLE_WANTED)
    while share is not None and not holds(wilson(share * n, n)):
        n *= 1.01
        if n > _LARGEST_SAMPLE:
            return None
    return math.ceil(n)


@dataclass(frozen=True, slots=True)
class ComparisonStats:
    """The number of comparisons by outcome, and the shares computed from it, from 0 to 1.

    Show agreement only together with coverage and errors: agreement hides the lookups that could not be compared.
    """

    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def n(self) -> int:
        """Return the number of comparisons of two names; misses, stale names and failures are not counted."""
        return self._of(_COMPARED)

    @property
    def conflicts(self) -> int:
        return self.counts.get(ComparisonOutcome.CONFLICT, 0)

    @property
    def agreement(self) -> float | None:
        return self._of(_AGREEING) / self.n if self.n else None

    @property
    def agreement_bounds(self) -> tuple[float, float]:
        return wilson(self._of(_AGREEING), self.n)

    @property
    def conflict_bounds(self) -> tuple[float, float]:
        return wilson(self.conflicts, self.n)

    @property
    def coverage(self) -> float | None:
        """Return the share of answered lookups for which the cache had a name that it may serve.

        Return None if no lookup was answered.
        """
        answered = self.total - self._of(_FAILED)
        return self.n / answered if answered else None

    @property
    def errors(self) -> float | None:
        return self._of(_FAILED) / self.total if self.total else None

    def _of(self, outcomes: Iterable[str]) -> int:
        return sum(self.counts.get(outcome, 0) for outcome in outcomes)

    @property
    def is_proven_bad(self) -> bool:
        """Return whether a sample of at least UNIVERSITY_SAMPLE proves that too many cached names are wrong.

        The proof is that the upper bound of agreement is below AGREEMENT_WANTED, or the lower bound of conflicts above
        CONFLICT_ALLOWED.
        """
        is_bad = self.agreement_bounds[1] < AGREEMENT_WANTED or self.conflict_bounds[0] > CONFLICT_ALLOWED
        return self.n >= UNIVERSITY_SAMPLE and is_bad

    def favourable_bounds(self) -> Message:
        params = {
            "agreement": percent_of(self.agreement_bounds[1]),
            "conflicts": percent_of(self.conflict_bounds[0]),
            "n": thousands(self.n),
        }
        return Message(
            "agreement ≤ %(agreement)s (upper bound), conflicts ≥ %(conflicts)s (lower bound), n = %(n)s", params
        )


def recent(window: timedelta = WINDOW) -> QuerySet[Comparison]:
    """Return the comparisons of the last ``window``, including those before the last resume, which gates do not count.

    Comparisons without a university, from earlier releases, are left out: no university rule applied to them.
    """
    return Comparison.objects.filter(at__gt=timezone.now() - window, university_id__isnull=False)


def counted() -> QuerySet[Comparison]:
    """Return the comparisons that gates and tripwires count: those in the last WINDOW and since the last resume."""
    return recent().filter(at__gt=monitored_since(WINDOW))


def without_university() -> int:
    """Return the number of comparisons in the last WINDOW that are left out because they have no university.

    Earlier releases stored such comparisons, some of them for probes, whose lookups are no longer compared.
    """
    return Comparison.objects.filter(at__gt=monitored_since(WINDOW), university_id=None).count()


def stats_of(rows: QuerySet[Comparison]) -> ComparisonStats:
    return ComparisonStats(dict(rows.order_by().values_list("outcome").annotate(n=Count("*"))))


def by_university(rows: QuerySet[Comparison]) -> dict[int, ComparisonStats]:
    counts: dict[int, dict[str, int]] = {}
    for university, outcome, n in rows.order_by().values_list("university_id", "outcome").annotate(n=Count("*")):
        counts.setdefault(university, {})[outcome] = n
    return {university: ComparisonStats(outcomes) for university, outcomes in counts.items()}


def by_age(rows: QuerySet[Comparison]) -> dict[float, ComparisonStats]:
    """Return statistics by the age of the cached name; a key is the upper end of an age group, in days.

    The upper ends are AGES and infinity. A comparison with the outcome CACHE_STALE is counted under the outcome in its
    ``pattern``, which is the outcome that the same name would have had if it had been fresh.
    """
    edges = [When(cache_age_days__lte=edge, then=Value(float(edge))) for edge in AGES]
    aged = rows.order_by().exclude(cache_age_days=None)
    aged = aged.annotate(edge=Case(*edges, default=Value(math.inf), output_field=FloatField()))
    counts: dict[float, Counter[str]] = {}
    for edge, outcome, pattern, n in aged.values_list("edge", "outcome", "pattern").annotate(n=Count("*")):
        key = pattern if outcome == ComparisonOutcome.CACHE_STALE else outcome
        counts.setdefault(edge, Counter())[key] += n
    return {edge: ComparisonStats(dict(counts[edge])) for edge in sorted(counts)}


def recommended_ttl(ages: dict[float, ComparisonStats]) -> timedelta | None:
    """Return the age up to which agreement is proven in every age group; None if it is not proven even in the first."""
    longest = None
    for edge, stats in ages.items():
        if math.isinf(edge) or stats.agreement_bounds[0] < AGREEMENT_WANTED:
            break
        longest = timedelta(days=edge)
    return longest


def ttl_advice(ages: dict[float, ComparisonStats]) -> Message:
    """Return the recommendation for PROFILE_TTL, or why there is none: too few comparisons, or differing names."""
    if ttl := recommended_ttl(ages):
        if ttl.days == 1:
            return Message("names at most one day old agree")
        return Message("names at most %(days)d days old agree", {"days": ttl.days})
    youngest = next(iter(ages.values()), ComparisonStats({}))
    # This sample would be too small for a recommendation even if all of its names agreed.
    if wilson(youngest.n, youngest.n)[0] < AGREEMENT_WANTED:
        return Message("too few comparisons to recommend a PROFILE_TTL")
    params = {"agreement": percent_of(youngest.agreement or 0.0), "n": thousands(youngest.n)}
    msgid = (
        "even the most recent names agree in only %(agreement)s of comparisons (n = %(n)s): no value of PROFILE_TTL "
        "would help"
    )
    return Message(msgid, params)


def conflict_patterns(rows: QuerySet[Comparison]) -> dict[str, int]:
    conflicts = rows.order_by().filter(outcome=ComparisonOutcome.CONFLICT)
    return dict(conflicts.values_list("pattern").annotate(n=Count("*")).order_by("-n"))


def speed(rows: QuerySet[Comparison]) -> dict[str, Any]:
    """Return how many lookups there were, how many found no name, and the p95 time in ms (None without lookups)."""
    times = sorted(rows.order_by().values_list("served_ms", flat=True))
    unnamed = rows.filter(served_source=ProfileSource.DEFAULT).count()
    return {"n": len(times), "unnamed": unnamed, "p95_ms": times[int(0.95 * (len(times) - 1))] if times else None}


def replay(percent: Decimal, window: timedelta = WINDOW) -> dict[str, Any]:
    """Return what phase 3 at ``percent`` would have changed for the lookups compared in the last ``window``."""
    rows = recent(window).filter(bucket__lt=int(percent * BUCKETS / 100))
    stats = stats_of(rows)
    return {
        "lookups": stats.total,
        "cache_answers": stats.n,
        "api_calls_left": stats.total - stats.n,
        "conflicts": stats.conflicts,
        "name_changes": stats.conflicts + stats.counts.get(ComparisonOutcome.API_RICHER, 0),
        "richer": stats.counts.get(ComparisonOutcome.CACHE_RICHER, 0),
        "errors": stats.errors,
        "average_age_days": rows.aggregate(age=Avg("cache_age_days"))["age"],
        "patterns": conflict_patterns(rows),
        "by_university": by_university(rows),
    }
