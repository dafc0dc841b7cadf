"""A gate shows its last hours with its limit, its sample, and a forecast from the rate of the last hour."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from employees.models import University
from monitoring.indicators import probe, rounds
from monitoring.indicators.definitions import INDICATORS
from monitoring.indicators.models import IndicatorReading
from monitoring.indicators.trends import Moment, Trend
from monitoring.indicators.units import with_unit
from monitoring.rollout_control import gates
from monitoring.rollout_control.gate_history import GateHistory, history
from monitoring.rollout_control.gates import Evaluation
from monitoring.rollout_control.labels import INDICATOR_OF
from monitoring.rollout_control.models import GateCheck
from monitoring.stats.comparison_stats import sample_needed, wilson
from profiles.models import Comparison
from profiles.rollout.models import Change
from tests.conftest import Phases
from tests.monitoring.alert_causes import NOON, Clock
from tests.monitoring.comparison_rows import compared

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def operator(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def collect(clock: Clock, *counts: int, outcome: str = "agree") -> None:
    """Take a round each ten minutes, with so many new comparisons before each."""
    for count in counts:
        compared(count, outcome, ago=timedelta()) if count else None
        rounds.take_round()
        clock.shift(timedelta(minutes=10))


def of(gate: str, phase: int = 3) -> GateHistory:
    return history(gates.evaluate(phase, Decimal(1)))[gate]


@pytest.mark.long
def test_it_works(clock: Clock, phases: Phases) -> None:
    """Of 659 comparisons 360 are there, of which 300 came in the last hour: 299 are missing, for an hour."""
    phases(100, 100)
    collect(clock, 60, 60, 60, 60, 60, 60)
    found = of("agreement")
    assert str(found.forecast) == "≈ 299 more needed, ≈ 60\u00a0min"
    assert found.trend is not None
    assert (found.trend.lowest, found.trend.highest) == ("60", "659")
    assert len(found.trend.lines) == len(found.trend.limits) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((400, 0, 0, 0, 0, 0, 0), "≈ 259 more needed, no forecast of the time: nothing new in the last hour"),
        ((400,), "≈ 259 more needed, no forecast of the time yet: too few measurements"),
    ],
)
def test_without_a_rate_there_is_no_forecast(
    clock: Clock, phases: Phases, counts: tuple[int, ...], message: str
) -> None:
    phases(100, 100)
    collect(clock, *counts)
    if len(counts) == 1:
        clock.shift(timedelta(minutes=-10))
    assert str(of("agreement").forecast) == message


@pytest.mark.long
def test_a_share_below_the_limit_never_reaches_it(clock: Clock, phases: Phases) -> None:
    phases(100, 100)
    collect(clock, 300, 300)
    compared(60, "conflict", ago=timedelta())
    rounds.take_round()
    assert str(of("agreement").forecast).startswith("no forecast: at the current share")
    assert str(of("conflicts").forecast).startswith("no forecast: at the current share")


@pytest.mark.parametrize("share", [None, 1.0, 0.99, 0.985])
def test_the_sample_that_is_needed(share: float | None) -> None:
    n = sample_needed(share, lambda bounds: bounds[0] >= 0.98)
    assert n is not None
    known = 1.0 if share is None else share
    assert wilson(known * n, n)[0] >= 0.98
    assert n == 659 or wilson(known * n * 0.98, n * 0.98)[0] < 0.98
    assert sample_needed(0.98, lambda bounds: bounds[0] >= 0.98) is None


def test_checks_in_a_row_and_dwell_time_have_a_forecast(clock: Clock, phases: Phases) -> None:
    phases(100, 100)
    compared(700, ago=timedelta())
    assert str(of("agreement").forecast) == "checks left: 2, ≈ 10\u00a0min"
    phases(100, 100, 1)
    clock.shift(timedelta(hours=10))
    step = gates.transition_step(3, Decimal(5))
    waited = history(gates.evaluate(3, Decimal(5)))["dwell"].forecast
    assert str(waited) == f"≈ {24 - round((timezone.now() - step.since).total_seconds() / 3600)}\u00a0h"


@pytest.mark.long
def test_a_resume_begins_the_history(clock: Clock, phases: Phases) -> None:
    phases(100, 100)
    collect(clock, 60, 60, 60)
    Change.objects.create(action="resume", by="a", reason="r", revision=1000, at=timezone.now())
    clock.shift(timedelta(seconds=20))
    found = of("agreement")
    assert str(found.forecast) == "≈ 659 more needed, no forecast of the time yet: too few measurements"
    assert found.trend is None


@pytest.mark.long
@pytest.mark.parametrize("worst", [0.3, 1.0, 1.5, 40.0])
@pytest.mark.parametrize("gate", sorted(gate for gate, name in INDICATOR_OF.items() if INDICATORS[name].unit == "%"))
def test_the_chart_has_the_worst_values(clock: Clock, phases: Phases, gate: str, worst: float) -> None:
    """A share of the cached profiles may exceed 100%: Redis may evict each of them several times in a day."""
    phases(100, 100)
    for value in (0.001, worst, 0.002):
        rounds.take_round()
        found = IndicatorReading.objects.filter(name=INDICATOR_OF[gate]).order_by("-pk")
        found.filter(pk=found[0].pk).update(value=value)
        clock.shift(timedelta(minutes=10))
    step, readings = gates.transition_step(3, Decimal(1)), rounds.latest()
    result = replace(gates.run_gate(gate, step, readings), value=0.002, n=None, unit="%", limit=None)
    trend = history(Evaluation(step, [result], readings.at))[gate].trend
    assert trend is not None
    assert trend.highest == with_unit(worst, "%")


def test_a_gap_ends_the_line() -> None:
    moments = [
        Moment(NOON + timedelta(minutes=minutes), value) for minutes, value in ((0, 1), (5, 2), (90, 3), (95, 4))
    ]
    trend = Trend.of(moments, [None], str, since=NOON, until=NOON + timedelta(minutes=100))
    assert trend is not None
    assert [len(line.split()) for line in trend.lines] == [2, 2]
    xs = [float(point.partition(",")[0]) for line in trend.lines for point in line.split()]
    assert xs == sorted(xs)
    assert (xs[0], xs[-1]) == (0, 228)


@pytest.mark.long
def test_the_page_shows_it_and_checks_now(
    operator: Client, clock: Clock, phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "round_trip", lambda: None)
    phases(100, 100)
    collect(clock, 60, 60, 60)
    page = operator.get("/admin/rollout/").content.decode()
    assert "<polyline" in page
    assert "sample: 180" in page
    assert "more needed" in page
    answer = operator.post("/admin/rollout/check/", follow=True)
    assert "Phase 3 is held at 0%" in answer.content.decode()
    assert set(GateCheck.objects.values_list("gate", flat=True)) >= {"agreement", "cohort_agreement", "rehearsed"} - {
        "cohort_agreement"
    }
    assert not GateCheck.objects.filter(gate="tripwire").exists()
    assert GateCheck.objects.get(gate="agreement").n == 180


def test_the_step_is_primary_only_when_the_gates_pass(operator: Client, phases: Phases) -> None:
    phases(100, 100)
    page = operator.get("/admin/rollout/").content.decode()
    (classes,) = re.findall(r'<a class="([^"]*)" id="advance-3"', page)
    assert "primary" not in classes
    assert "data-primary" in operator.get("/admin/steer/3/?percent=1").content.decode()
    phases()
    GateCheck.objects.all().delete()
    IndicatorReading.objects.all().delete()
    page = operator.get("/admin/rollout/").content.decode()
    held = "gates not passed" in page
    (classes,) = re.findall(r'<a class="([^"]*)" id="advance-1"', page)
    assert ("primary" in classes) == (not held)


def test_it_refuses_readers(client: Client, phases: Phases) -> None:
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename="view_rollout"))
    client.force_login(reader)
    assert client.post("/admin/rollout/check/").status_code == 403
    assert not GateCheck.objects.exists()


@pytest.mark.long
def test_the_last_hour_stands_beside_the_month(operator: Client, clock: Clock, phases: Phases) -> None:
    phases(100, 100, 5)
    collect(clock, 60, 60, 60)
    context = operator.get("/admin/rollout/").context
    chart = context["last_hour"]
    labels = [line["label"] for line in chart["series"]]
    assert labels[:2] == ["Agreement, lower bound", "Conflicts, upper bound"]
    values = {line["label"]: line["data"] for line in chart["series"]}
    bound = IndicatorReading.objects.filter(name="agreement").latest("pk").value
    assert bound is not None
    assert values["Agreement, lower bound"][-1] == round(100 * bound, 2)
    assert values["Phase 3"] == [5.0] * 3
    # The labels are shown in the reader's zone.
    assert [datetime.fromisoformat(at).minute for at in chart["moments"]] == [
        int(label.partition(":")[2][:2]) for label in chart["labels"]
    ]
    home = operator.get("/admin/").context
    assert (len(home["last_hour"]["chart"]["labels"]), len(home["traffic"]["chart"]["labels"])) == (61, 25)


def test_all_universities_are_within_reach(operator: Client, phases: Phases) -> None:
    phases(100, 100)
    made = University.objects.bulk_create(University(name=f"Университет {'абвгд'[n % 5]}{n}") for n in range(60))
    for university in made:
        compared(1, university_id=university.pk)
    compared(1, university_id=max(u.pk for u in made) + 1)
    page = operator.get("/admin/comparisons/")
    assert len(page.context["universities"]) == 50
    assert "Show 11 more universities" in page.content.decode()
    page = operator.get("/admin/comparisons/?days=counted&all=1")
    assert {name for _pk, name, _stats in page.context["universities"]} == {
        *(university.name for university in made), "deleted university",
    }  # fmt: skip
    one = operator.get(f"/admin/comparisons/?university={made[0].pk}")
    assert one.context["stats"].total == 1
    assert Comparison.objects.count() == 61
