import math
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.stats import comparison_stats
from monitoring.stats.comparison_stats import SAMPLE_WANTED, ComparisonStats, wilson
from tests.monitoring.comparison_rows import compared


def test_the_smallest_sample_just_proves_both_bounds() -> None:
    clean = ComparisonStats({"agree": SAMPLE_WANTED})
    assert clean.agreement_bounds[0] >= 0.98
    assert clean.conflict_bounds[1] <= 0.01
    assert ComparisonStats({"agree": SAMPLE_WANTED - 1}).conflict_bounds[1] > 0.01


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_the_bounds_contain_the_share(successes: int, others: int) -> None:
    low, high = wilson(successes, successes + others)
    share = successes / (successes + others) if successes + others else 0.5
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1


def test_an_empty_sample_proves_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert (ComparisonStats({}).agreement, ComparisonStats({}).coverage, ComparisonStats({}).errors) == (
        None,
        None,
        None,
    )
    assert not ComparisonStats({}).is_proven_bad


def test_agreement_coverage_and_errors() -> None:
    compared_ones = {"agree": 6, "equivalent": 1, "cache_richer": 1, "api_richer": 1, "conflict": 1}
    failed_ones = {"timeout": 2, "api_error": 2, "cache_error": 1}
    stats = ComparisonStats({**compared_ones, **failed_ones, "cache_miss": 5, "cache_stale": 3, "both_empty": 2})
    assert (stats.n, stats.total) == (10, 25)
    assert (stats.agreement, stats.coverage, stats.errors) == (0.8, 0.5, 0.2)


@pytest.mark.django_db
def test_by_university_by_age_and_by_pattern() -> None:
    compared(700, cache_age_days=2.0)
    compared(700, cache_age_days=6.0, university_id=2)
    compared(700, "conflict", cache_age_days=20.0, pattern="last_name")
    compared(10, "cache_stale", cache_age_days=100.0, pattern="agree")
    rows = comparison_stats.recent()
    assert {university: stats.n for university, stats in comparison_stats.by_university(rows).items()} == {
        1: 1400,
        2: 700,
    }
    ages = comparison_stats.by_age(rows)
    assert [(age, stats.n) for age, stats in ages.items()] == [(3, 700), (7, 700), (30, 700), (math.inf, 10)]
    assert comparison_stats.recommended_ttl(ages) == timedelta(days=7)
    assert comparison_stats.conflict_patterns(rows) == {"last_name": 700}


@pytest.mark.django_db
def test_a_replay_counts_the_cohort() -> None:
    compared(100)
    compared(10, "conflict", pattern="script")
    compared(20, "cache_miss")
    compared(50, ago=timedelta(days=8))
    stats = comparison_stats.replay(Decimal(50))
    assert (stats["lookups"], stats["cache_answers"], stats["conflicts"], stats["name_changes"]) == (65, 55, 5, 5)
    assert comparison_stats.replay(Decimal(0))["lookups"] == 0
