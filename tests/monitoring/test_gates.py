"""Only a pass lets a step through; without data, or with monitoring off, a gate is inconclusive."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import OperationalError
from django.utils import timezone
from pytest_django.fixtures import Settings
from waffle.models import Switch

from employees.models import University
from monitoring.alerts import engine
from monitoring.indicators import rounds
from monitoring.indicators.models import RoundTrip
from monitoring.indicators.units import with_unit
from monitoring.rollout_control import controller, gates
from monitoring.rollout_control.gates import ENTERING, WIDENING, GateResult, TransitionStep, evaluate
from monitoring.rollout_control.models import GateCheck, Verdict
from monitoring.rollout_control.presenters import conditions
from profiles import cache
from profiles.models import Comparison
from profiles.rollout import changes
from profiles.rollout.changes import GatesNotPassed
from profiles.rollout.decision import forget_state
from profiles.rollout.models import Change, Flag, OnBreach, Plan, Rollout
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import ChangeRefused
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change, plan_step, request
from webhooks.models import InboxUpdate, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def verdicts(phase: int, target: int) -> dict[str, Verdict]:
    return {result.gate: result.verdict for result in evaluate(phase, Decimal(target)).results}


def arrive(ago: timedelta = timedelta(minutes=1), state: State = State.DONE) -> None:
    at = timezone.now() - ago
    InboxUpdate.objects.create(
        dedup_key=str(InboxUpdate.objects.count()).encode(),
        update_type="bot_started",
        state=state,
        received_at=at,
        next_try_at=at,
        finished_at=at,
    )


def end_dwell_time(phase: int) -> None:
    Flag.objects.filter(name=PHASES[phase - 1]).update(moved_at=timezone.now() - timedelta(days=2))


@pytest.fixture
def all_green(phases: Phases, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phase 3 at 25% for two days, with all that its gates require."""
    settings.WEBHOOK_SECRETS = [b"secret"]
    phases(100, 100, 25)
    end_dwell_time(3)
    add_profile("7")
    arrive()
    compared(700)
    compared(40, stage=3, served_source="webhook", served_ms=5.0)
    change("rehearsal", facts={"university": 1, "out_s": 1, "total_s": 2})
    with monkeypatch.context() as patch:
        # Nothing changes between the checks: they share the measurements.
        patch.setattr(rounds, "FRESH", timedelta(hours=1))
        for minutes in (20, 10):
            with time_machine.travel(timezone.now() - timedelta(minutes=minutes)):
                gates.check(3, Decimal(50))


@pytest.mark.long
def test_it_works(all_green: None) -> None:
    assert evaluate(3, Decimal(50)).failing == []
    changes.apply(request("set", phase=3, percent=50))
    change = Change.objects.latest("revision")
    assert (change.after["percents"][PHASES[2]], change.is_forced) == ("50", False)
    assert {item["gate"] for item in change.evidence} == {*ENTERING[3], *WIDENING[3]}


def test_without_data_no_gate_passes(phases: Phases) -> None:
    for phase, percents, target in ((2, [100, 0], 100), (3, [100, 100, 1], 5)):
        phases(*percents)
        assert Verdict.INCONCLUSIVE in verdicts(phase, target).values()
        with pytest.raises(GatesNotPassed, match=f"^Phase {phase} is held at {percents[-1]}%"):
            changes.apply(request("set", phase=phase, percent=target))
        assert Flag.objects.get(name=PHASES[phase - 1]).percent == percents[-1]


def test_force_is_recorded_with_the_failing_gates(phases: Phases) -> None:
    phases(100, 100, 1)
    changes.apply(request("set", phase=3, percent=50, reason="the fair opens tomorrow", is_forced=True))
    change = Change.objects.latest("revision")
    assert change.is_forced
    failing = {item["gate"] for item in change.evidence if item["verdict"] != Verdict.PASS}
    assert {"step", "agreement", "dwell"} <= failing


@pytest.mark.long
def test_increases_go_step_by_step_and_decreases_at_once(all_green: None) -> None:
    with pytest.raises(GatesNotPassed, match="one step at a time: after 25% comes 50%"):
        changes.apply(request("set", phase=3, percent=75))
    changes.apply(request("set", phase=3, percent=1))
    assert changes.apply(request("advance", reason="r", is_forced=True)).after.percents[PHASES[2]] == 5


@pytest.mark.long
def test_the_message_is_the_documented_one(all_green: None) -> None:
    compared(24, "conflict")
    held = str(evaluate(3, Decimal(50)).hold_message())
    assert held.startswith("Phase 3 is held at 25%: agreement 94.8% < 98.0% (lower bound, n = 764); conflicts 5.")


@pytest.mark.long
def test_without_monitoring_every_gate_is_inconclusive(all_green: None) -> None:
    Switch.objects.filter(name="monitoring").update(active=False)
    forget_state()
    assert set(verdicts(3, 50).values()) == {Verdict.INCONCLUSIVE}


@pytest.mark.long
def test_three_checks_in_a_row(all_green: None) -> None:
    GateCheck.objects.all().delete()
    for passed in (1, 2):
        result = {result.gate: result for result in gates.check(3, Decimal(50)).results}["agreement"]
        assert result.verdict == Verdict.INCONCLUSIVE
        # Another check within the minute does not count.
        gates.check(3, Decimal(50))
        assert f"consecutive checks passed: {passed} of 3" in str(result.message)
        GateCheck.objects.update(at=timezone.now() - timedelta(minutes=2 * (3 - passed)))
        GateCheck.objects.filter(pk__in=GateCheck.objects.order_by("pk").values("pk")[:30]).update(
            at=timezone.now() - timedelta(minutes=5)
        )
    assert verdicts(3, 50)["agreement"] == Verdict.PASS


@pytest.mark.long
def test_a_university_fails_only_on_evidence(all_green: None) -> None:
    compared(29, "conflict", university_id=8, ago=timedelta(seconds=1))
    assert verdicts(3, 50)["universities"] == Verdict.PASS
    compared(1, "conflict", university_id=8)
    assert verdicts(3, 50)["universities"] == Verdict.FAIL


@pytest.mark.long
def test_the_gate_names_no_university(all_green: None) -> None:
    """Its message, which is stored too, is shown to users who are limited to another university."""
    for university in (81726354, 81726355):
        compared(30, "conflict", university_id=university)
    gates.check(3, Decimal(50))
    texts = [str(check.text) for check in GateCheck.objects.all()]
    assert "universities with wrong cached names: 2" in texts, texts
    assert not [text for text in texts if "8172635" in text]


def test_pages_name_the_universities_that_the_reader_may_see(all_green: None) -> None:
    names = ["Bauman", "Gubkin", "Lomonosov", "Mendeleev", "Pirogov", "Plekhanov", "Sechenov"]
    made = [University.objects.create(pk=100 + number, name=name) for number, name in enumerate(names)]
    for university in made:
        compared(30, "conflict", university_id=university.pk)
    evaluation = gates.evaluate(3, Decimal(50))

    def shown(may_see: set[int] | None) -> str:
        return next(one.message for one in conditions(evaluation, may_see=may_see) if one.gate == "universities")

    figures = (
        ": 7; the one with most comparisons: agreement ≤ 18.2% (upper bound), conflicts ≥ 81.8% (lower bound), n = 30"
    )
    assert shown(None).endswith(f"{figures}; among them: Bauman, Gubkin, Lomonosov, Mendeleev, Pirogov and 2 more")
    assert shown({made[3].pk}) == "universities with wrong cached names: 7; among them: Mendeleev"
    assert shown(set()) == "universities with wrong cached names: 7"
    assert not [name for name in names if name in shown(set())]


@pytest.mark.long
def test_values_are_labelled_as_bounds(all_green: None) -> None:
    compared(117, stage=3, served_source="webhook", served_ms=5.0)
    compared(3, "both_empty", stage=3, served_source="default", served_ms=5.0)
    shown = {one.gate: one for one in conditions(gates.evaluate(3, Decimal(50)))}
    assert shown["cohort_errors"].number.startswith("≥")
    assert "3 found no name (share ≥ " in shown["cohort_errors"].message
    cohort = shown["cohort_agreement"]
    assert (cohort.number[:1], cohort.number[-1:], cohort.operator, cohort.limit) == ("≤", "%", "≥", "98%")


@pytest.mark.long
def test_a_cohort_with_conflicts_shows_the_bound_that_fails(all_green: None) -> None:
    """Its agreement is not proven to be too low: with 50 conflicts among 2,000 comparisons it may be 98.3%."""
    Comparison.objects.all().delete()
    compared(1950, bucket=3000)
    gates.check(3, Decimal(50))
    compared(50, "conflict", bucket=3000)
    gates.check(3, Decimal(50))
    gates.check(3, Decimal(50))
    stored = gates.last_evaluation(3, Decimal(50), {flag.name: flag for flag in Flag.objects.all()}, rounds.latest())
    for evaluation in (gates.evaluate(3, Decimal(50)), stored):
        result = next(one for one in evaluation.results if one.gate == "cohort_agreement")
        [shown] = [one for one in conditions(evaluation, with_history=True) if one.gate == "cohort_agreement"]
        assert (result.verdict, shown.operator, shown.limit) == (Verdict.FAIL, "≤", "1%")
        assert result.value
        assert 0.01 < result.value < 0.025
        assert shown.number == f"≥\u00a0{with_unit(result.value, '%')}"
        assert shown.history
        assert shown.history.trend
        # The first check stored a bound of agreement, which the chart of conflicts leaves out.
        assert shown.history.trend.highest == with_unit(result.value, "%")


@pytest.mark.long
def test_the_cohort_must_not_do_worse_than_the_direct_api(all_green: None) -> None:
    compared(60, "both_empty", stage=3, served_source="default", served_ms=5.0)
    assert verdicts(3, 50)["cohort_errors"] == Verdict.FAIL
    compared(200, stage=3, served_source="webhook", served_ms=500.0)
    assert verdicts(3, 50)["cohort_speed"] == Verdict.FAIL


@pytest.mark.long
@pytest.mark.parametrize(
    ("gate", "spoil"),
    [
        ("dwell", lambda: Flag.objects.filter(name=PHASES[2]).update(moved_at=timezone.now())),
        ("agreement", lambda: compared(24, "conflict")),
        ("updates_arrive", lambda: InboxUpdate.objects.update(received_at=timezone.now() - timedelta(days=8))),
    ],
)
def test_what_else_holds_phase_3(all_green: None, gate: str, spoil: Callable[[], object]) -> None:
    assert verdicts(3, 50)[gate] == Verdict.PASS
    spoil()
    assert verdicts(3, 50)[gate] != Verdict.PASS


def test_a_gate_that_cannot_measure_is_an_error(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(step: TransitionStep) -> GateResult:
        raise OperationalError

    monkeypatch.setitem(gates.OWN, "rehearsed", broken)
    gone = cache.health() | {"redis_connected": False, "last_error": "info: TimeoutError"}
    monkeypatch.setattr(cache, "health", lambda: gone)
    results = verdicts(3, 1)
    assert (results["rehearsed"], results["few_evictions"]) == (Verdict.ERROR, Verdict.ERROR)


def test_phase_2_asks_for_a_round_trip(phases: Phases) -> None:
    phases(100)
    assert verdicts(2, 100)["round_trip"] == Verdict.INCONCLUSIVE
    arrive()
    RoundTrip.objects.create(took_ms=12.0)
    assert set(verdicts(2, 100).values()) == {Verdict.PASS}
    arrive(state=State.DEAD)
    assert verdicts(2, 100)["webhook_errors"] == Verdict.FAIL
    RoundTrip.objects.create(error="not processed")
    assert verdicts(2, 100)["round_trip"] == Verdict.FAIL


@pytest.mark.long
def test_phase_4_asks_for_phase_3_at_100(all_green: None, phases: Phases) -> None:
    engine.check_alerts()
    assert verdicts(4, 1) == {"phase3_complete": Verdict.FAIL, "no_alert": Verdict.PASS}
    phases(100, 100, 100)
    assert verdicts(4, 1)["phase3_complete"] == Verdict.INCONCLUSIVE
    end_dwell_time(3)
    assert changes.apply(request("advance", phase=4)).after.percents[PHASES[3]] == 1


def due(percent: int = 50) -> Plan:
    return plan_step(3, percent, timezone.now())


@pytest.mark.long
def test_a_planned_step_is_checked_when_it_fires(all_green: None) -> None:
    due()
    assert controller.fire_due() == 1
    assert Flag.objects.get(name=PHASES[2]).percent == 50
    due(75)
    controller.fire_due()
    assert Plan.objects.latest("pk").outcome.startswith("Phase 3 is held at 50%")
    assert Flag.objects.get(name=PHASES[2]).percent == 50


def test_a_planned_step_is_dropped_when_the_rollout_moved(all_green: None) -> None:
    plan = due()
    change("emergency")
    Plan.objects.update(state="planned")
    outcome = controller.fire(Plan.objects.get(pk=plan.pk))
    assert outcome.startswith("Cancelled: the rollout has changed since the step was planned")
    assert Flag.objects.get(name=PHASES[2]).percent == 0


@pytest.mark.parametrize(("on_breach", "percent"), [(OnBreach.HOLD, 25), (OnBreach.ROLL_BACK, 5)])
def test_three_breaches_in_a_row_hold_or_go_back(all_green: None, on_breach: OnBreach, percent: int) -> None:
    change("on-breach", on_breach=on_breach)
    controller.check()
    compared(300, "conflict")
    for _ in range(2):
        controller.check()
    assert not Rollout.current().is_paused
    controller.check()
    rollout = Rollout.current()
    assert rollout.is_paused
    assert rollout.held_for.startswith("Phase 3 is held at 25%: agreement ≤")
    assert Flag.objects.get(name=PHASES[2]).percent == percent
    with pytest.raises(ChangeRefused, match="paused"):
        changes.apply(request("set", phase=3, percent=100, reason="r", is_forced=True))
    change("resume")
    assert not Rollout.current().is_paused


@pytest.mark.long
def test_the_controller_checks_once_an_interval(all_green: None, settings: Settings) -> None:
    GateCheck.objects.all().delete()
    controller.run()
    count = GateCheck.objects.count()
    controller.run()
    assert GateCheck.objects.count() == count > 0
    settings.MONITORING_CHECK_INTERVAL = timedelta(0)
    controller.run()
    assert GateCheck.objects.count() == 2 * count
