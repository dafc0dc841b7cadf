"""The rollout's chart of thirty days: what the audit log records, and gaps where it records nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from monitoring.dashboard import charts
from monitoring.dashboard.rollout import moves_of, percents_by_day, timeline
from profiles.rollout.models import Change
from profiles.rollout.phases import PHASES, SHADOW


def changed(
    days_ago: int, revision: int, before: dict[str, Any], after: dict[str, Any], action: str = "step"
) -> Change:
    at = timezone.now() - timedelta(days=days_ago)
    return Change(at=at, by="root", action=action, reason="r", revision=revision, before=before, after=after)


def share(percent: str) -> dict[str, Any]:
    return {"percents": dict.fromkeys(PHASES, percent)}


def phase3(*changes: Change) -> list[float | None]:
    return percents_by_day(list(changes), PHASES[2], charts.last_days())


def test_it_works() -> None:
    assert phase3(changed(10, 2, share("5"), share("25"))) == [5.0] * 19 + [25.0] * 11


def test_before_the_seed_there_is_no_line() -> None:
    assert phase3(changed(0, 1, {}, share("100"), "seed")) == [None] * 29 + [100.0]


def test_the_share_of_the_comparison_moves_no_phase() -> None:
    step = changed(10, 2, share("5"), share("25"))
    save = changed(5, 2, {"percents": {SHADOW: "0"}}, {"percents": {SHADOW: "10"}}, "save")
    assert phase3(step, save) == [5.0] * 19 + [25.0] * 11


@pytest.mark.django_db
def test_a_month_of_rules_hides_no_step(redis: object) -> None:
    """Rules of universities are many, and move no phase."""
    Change.objects.bulk_create([changed(40, 1, share("1"), share("5")), changed(20, 2, share("5"), share("25"))])
    rule = {"university": 1, "phase": 3, "allowed": True, "expires_at": None}
    Change.objects.bulk_create(changed(15, 3, {}, rule, "scope") for _ in range(600))
    paused = share("25") | {"held_for": "r"}
    Change.objects.bulk_create(changed(10, 4, share("25"), paused, "pause") for _ in range(600))
    steps = [changed(5, 5, share("25"), share("50")), changed(5, 6, share("50"), share("10"), "roll-back")]
    Change.objects.bulk_create(steps)
    drawn = timeline()["series"]
    # This database was seeded today.
    assert drawn[0]["data"] == [5.0] * 9 + [25.0] * 15 + [10.0] * 5 + [0.0]
    assert drawn[-1]["data"] == [None] * 24 + [0] + [None] * 5
    assert len(moves_of(charts.last_days())) == 4


@pytest.mark.django_db
def test_before_the_month_stands_what_moved_last(redis: object) -> None:
    Change.objects.bulk_create([changed(60, 1, share("0"), share("5")), changed(40, 2, share("5"), share("25"))])
    assert phase3(*moves_of(charts.last_days())) == [25.0] * 29 + [0.0]


@pytest.mark.django_db
def test_a_system_that_was_seeded_today_has_no_past(redis: object) -> None:
    assert timeline()["series"][0]["data"][:29] == [None] * 29
