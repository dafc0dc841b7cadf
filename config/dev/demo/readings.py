"""The demo's history of indicators and gate checks, computed from the snapshots of the simulation."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

from config.dev.demo.simulation import Simulation, Snapshot
from config.dev.demo.story import Story
from config.lib.messages import Message, to_columns
from monitoring.indicators.measurements import Measured
from monitoring.indicators.models import IndicatorReading, Round
from monitoring.indicators.rounds import reading_of
from monitoring.indicators.trends import HOURS
from monitoring.indicators.working_time import is_working_time, working_time
from monitoring.rollout_control import gates
from monitoring.rollout_control.gates import CHECKS_IN_A_ROW, TRIPWIRE, TransitionStep
from monitoring.rollout_control.models import MESSAGE_LENGTH, GateCheck, Verdict
from monitoring.stats import comparison_stats
from monitoring.stats.comparison_stats import UNIVERSITY_SAMPLE, ComparisonStats
from profiles.models import ProfileSource
from profiles.rollout.decision import BUCKETS

_CHECKED = ("agreement", "conflicts", "quality")


def readings(lived: Simulation) -> Iterator[IndicatorReading]:
    random = Random(f"readings {lived.seed}")  # noqa: S311 (no secret)
    for photo in lived.snapshots:
        for name, measured in _measured(photo, random):
            yield reading_of(name, photo.at, measured)


def gate_checks(lived: Simulation) -> Iterator[GateCheck]:
    """Yield the checks of the gates and of the tripwire, including the failures that caused a hold of the rollout."""
    for photo in lived.snapshots:
        if photo.at < lived.story.collecting_since:
            continue
        measured = {name: reading_of(name, photo.at, one) for name, one in _measured(photo, Random(0))}  # noqa: S311
        step = TransitionStep(3, Decimal(0), Decimal(1), photo.at)
        for gate in _CHECKED:
            result = gates.run_gate(gate, step, Round(photo.at, measured))
            yield GateCheck(at=photo.at, phase=3, **result.as_json())
        if photo.at > lived.story.now - HOURS:
            yield from _of_the_step(lived, photo)
        phase = 2 if photo.at < lived.story.steps[0][0] else 3
        yield GateCheck(at=photo.at, phase=phase, gate=TRIPWIRE, verdict=Verdict.PASS, message="")
    text, sentence = to_columns(held_message(lived.story), MESSAGE_LENGTH)
    for number in range(CHECKS_IN_A_ROW):
        breach: dict[str, Any] = {"verdict": Verdict.FAIL, "message": text, "sentence": sentence}
        at = lived.story.held_at - number * timedelta(minutes=5)
        yield GateCheck(at=at, phase=2, gate=TRIPWIRE, **breach)


def _of_the_step(lived: Simulation, photo: Snapshot) -> Iterator[GateCheck]:
    """Yield the checks of gates that are measured during the current step, such as dwell time and cohort agreement.

    They are measured as in monitoring.rollout_control.gates.
    """
    since, percent, _reason = lived.story.steps[-1]
    rows = lived.comparisons[: photo.compared_until]
    week, low = photo.at - comparison_stats.WINDOW, percent * BUCKETS // 100
    cohort = [row for row in rows if row.at > week and low <= row.bucket < 2 * low]
    stats = ComparisonStats(dict(Counter(str(row.outcome) for row in cohort)))
    served = [row for row in rows if row.at > since and row.stage >= 3]
    unnamed = sum(row.served_source == ProfileSource.DEFAULT for row in served)
    values: dict[str, tuple[float | None, int | None]] = {"dwell": ((photo.at - since).total_seconds(), None)}
    if stats.n >= UNIVERSITY_SAMPLE:
        values["cohort_agreement"] = stats.agreement_bounds[1], stats.n
    if len(served) >= gates.SERVED_WANTED:
        times = sorted(row.served_ms or 0.0 for row in served)
        values["cohort_errors"] = comparison_stats.wilson(unnamed, len(served))[0], len(served)
        values["cohort_speed"] = times[len(times) * 95 // 100], len(served)
    for gate, (value, n) in values.items():
        yield GateCheck(at=photo.at, phase=3, gate=gate, verdict=Verdict.PASS, message="", value=value, n=n)


def held_message(story: Story) -> Message:
    minutes = (story.held_at - story.delivery_gap[0]) // timedelta(minutes=1)
    reason = Message("no updates for %(minutes)d min", {"minutes": minutes})
    params = {"phase": 2, "percent": "100", "reasons": [reason]}
    return Message("Phase %(phase)d is held at %(percent)s%%: %(reasons)s", params)


def _measured(photo: Snapshot, random: Random) -> Iterator[tuple[str, Measured]]:
    stats = ComparisonStats(dict(photo.compared))
    yield "agreement", Measured(stats.agreement_bounds[0], stats.n)
    yield "conflicts", Measured(stats.conflict_bounds[1], stats.n)
    yield "comparison_coverage", Measured(stats.coverage, stats.total)
    yield "comparison_errors", Measured(stats.errors, stats.total)
    data: dict[str, Any] = {"total_users": photo.users, "users_with_profiles": photo.users_with_profiles}
    data["employees_by_source"] = dict(photo.sources)
    yield "coverage", Measured(photo.users_with_profiles / photo.users, photo.users, data=data)
    yield "full_names", Measured(photo.full_names / photo.users, photo.users)
    # No name is older than two weeks, so all names are fresh.
    completeness = (photo.complete + (photo.profiles - photo.complete) / 2) / max(photo.profiles, 1)
    yield "profile_quality", Measured(0.7 * completeness + 0.3, photo.profiles)
    yield "profile_completeness", Measured(completeness, photo.profiles)
    yield "cached_profiles", Measured(photo.profiles)
    yield "cache_memory", Measured(1_100_000 + 620 * photo.profiles)
    yield "cache_hit_rate", Measured(0.86 + 0.06 * random.random())
    yield "cache_latency", Measured(0.4 + 0.3 * random.random())
    yield "inbox_lag", Measured(0.05 + 0.2 * random.random(), photo.profiles, data={"oldest_seconds": 0.0})
    yield "universities_standing_out", Measured(0)
    silent, is_judged = working_time(photo.updated_at, photo.at), is_working_time(photo.at)
    minutes = silent // timedelta(minutes=1)
    ago = Message("%(minutes)d min ago", {"minutes": minutes}) if minutes else Message("less than a minute ago")
    params = {"minutes": minutes, "ago": ago}
    yield "seconds_since_update", Measured(silent.total_seconds(), params=params, is_judged=is_judged)
    for name in ("evictions", "secret_failures"):
        yield name, Measured(0.0, photo.profiles, data={"counter": 0, "grown": 0})
