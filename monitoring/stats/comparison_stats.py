"""What the stored comparisons prove: agreement, coverage and errors, with confidence bounds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Avg, Case, Count, FloatField, QuerySet, Value, When
from django.utils import timezone

from config.lib.messages import Message, percent_of, thousands
from profiles.models import Comparison, ComparisonOutcome, ProfileSource
from profiles.rollout.decision import BUCKETS

# Two-sided 99 percent.
Z = 2.58
AGREEMENT_WANTED = 0.98
CONFLICT_ALLOWED = 0.01
# The least that can prove both bounds: with no conflict among 659, the upper bound is below 1 percent.
SAMPLE_WANTED = 659
UNIVERSITY_SAMPLE = 30
WINDOW = timedelta(days=7)
AGES = (1, 3, 7, 14, 30, 60, 90)

_AGREEING = (ComparisonOutcome.AGREE, ComparisonOutcome.EQUIVALENT, ComparisonOutcome.CACHE_RICHER)
_COMPARED = (*_AGREEING, ComparisonOutcome.API_RICHER, ComparisonOutcome.CONFLICT)
_FAILED = (ComparisonOutcome.API_ERROR, ComparisonOutcome.CACHE_ERROR, ComparisonOutcome.TIMEOUT)


def wilson(successes: int, n: int, z: float = Z) -> tuple[float, float]:
    """Return the bounds of a share by Wilson's score interval; 0 and 1 when nothing was seen."""
    if not n:
        return 0.0, 1.0
    share, square = successes / n, z * z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class ComparisonStats:
    """Comparisons by outcome. Agreement is never shown without coverage and errors beside it; shares are 0 to 1."""

    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def n(self) -> int:
        """How many had two names to hold against each other."""
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
        """The share of answered lookups for which the cache had a name that it may serve."""
        answered = self.total - self._of(_FAILED)
        return self.n / answered if answered else None

    @property
    def errors(self) -> float | None:
        return self._of(_FAILED) / self.total if self.total else None

    def _of(self, outcomes: Iterable[str]) -> int:
        return sum(self.counts.get(outcome, 0) for outcome in outcomes)

    def speaks_against(self) -> bool:
        """Return whether even the kinder bounds are too bad."""
        return self.agreement_bounds[1] < AGREEMENT_WANTED or self.conflict_bounds[0] > CONFLICT_ALLOWED

    def reason_against(self) -> Message:
        """Return the kinder bounds, in words."""
        words = {
            "agreement": percent_of(self.agreement_bounds[1]),
            "conflicts": percent_of(self.conflict_bounds[0]),
            "n": thousands(self.n),
        }
        return Message("agreement at most %(agreement)s, conflicts at least %(conflicts)s (n = %(n)s)", words)


def recent(window: timedelta = WINDOW) -> QuerySet[Comparison]:
    return Comparison.objects.filter(at__gt=timezone.now() - window)


def stats_of(rows: QuerySet[Comparison]) -> ComparisonStats:
    return ComparisonStats(dict(rows.order_by().values_list("outcome").annotate(n=Count("*"))))


def by_university(rows: QuerySet[Comparison]) -> dict[int | None, ComparisonStats]:
    counts: dict[int | None, dict[str, int]] = {}
    for university, outcome, n in rows.order_by().values_list("university_id", "outcome").annotate(n=Count("*")):
        counts.setdefault(university, {})[outcome] = n
    return {university: ComparisonStats(outcomes) for university, outcomes in counts.items()}


def by_age(rows: QuerySet[Comparison]) -> dict[float, ComparisonStats]:
    """Return the tallies of names up to so many days old; a stale name counts as the outcome that it would have had."""
    edges = [When(cache_age_days__lte=edge, then=Value(float(edge))) for edge in AGES]
    aged = rows.order_by().exclude(cache_age_days=None)
    aged = aged.annotate(edge=Case(*edges, default=Value(math.inf), output_field=FloatField()))
    counts: dict[float, Counter[str]] = {}
    for edge, outcome, pattern, n in aged.values_list("edge", "outcome", "pattern").annotate(n=Count("*")):
        seen = pattern if outcome == ComparisonOutcome.CACHE_STALE else outcome
        counts.setdefault(edge, Counter())[seen] += n
    return {edge: ComparisonStats(dict(counts[edge])) for edge in sorted(counts)}


def recommended_ttl(ages: dict[float, ComparisonStats]) -> timedelta | None:
    """Return the longest age up to which names agree, by the lower bound; None where too little is known."""
    longest = None
    for edge, seen in ages.items():
        if math.isinf(edge) or seen.agreement_bounds[0] < AGREEMENT_WANTED:
            break
        longest = timedelta(days=edge)
    return longest


def conflict_patterns(rows: QuerySet[Comparison]) -> dict[str, int]:
    conflicts = rows.order_by().filter(outcome=ComparisonOutcome.CONFLICT)
    return dict(conflicts.values_list("pattern").annotate(n=Count("*")).order_by("-n"))


def speed(rows: QuerySet[Comparison]) -> dict[str, Any]:
    """Return how many lookups were answered, the share left unnamed, and the times, of one cohort."""
    times = sorted(rows.order_by().values_list("served_ms", flat=True))
    unnamed = rows.filter(served_source=ProfileSource.DEFAULT).count()
    return {"n": len(times), "unnamed": unnamed, "p95_ms": times[int(0.95 * (len(times) - 1))] if times else None}


def replay(percent: Decimal, window: timedelta = WINDOW) -> dict[str, Any]:
    """Tell what the window would have been like with phase 3 at this percentage: who would have seen another name."""
    rows = recent(window).filter(bucket__lt=int(percent * BUCKETS / 100))
    seen = stats_of(rows)
    return {
        "lookups": seen.total,
        "cache_answers": seen.n,
        "api_calls_left": seen.total - seen.n,
        "conflicts": seen.conflicts,
        "name_changes": seen.conflicts + seen.counts.get(ComparisonOutcome.API_RICHER, 0),
        "richer": seen.counts.get(ComparisonOutcome.CACHE_RICHER, 0),
        "errors": seen.errors,
        "average_age_days": rows.aggregate(age=Avg("cache_age_days"))["age"],
        "patterns": conflict_patterns(rows),
        "by_university": by_university(rows),
    }
