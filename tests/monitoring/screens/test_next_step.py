"""The pages show the next step by what the step itself will be checked with, and nothing of another step."""

import io
import re
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from monitoring.indicators import rounds
from monitoring.indicators.models import IndicatorReading
from monitoring.rollout_control import gates
from monitoring.rollout_control.gates import GateResult, TransitionStep
from monitoring.rollout_control.models import GateCheck, Verdict
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
PAGES = ("/admin/live/home/", "/admin/live/rollout/")
UNCHECKED = "not checked yet since the last step"


@pytest.fixture
def _passed(operator: Client, phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phase 3 at 1%, and every gate passes for 5%."""
    operator.cookies["django_language"] = "en"
    phases(100, 100, 1)
    add_profile("7")
    monkeypatch.setattr(gates, "ENTERING", {1: ("monitoring_on",), 3: ("quality",)})
    monkeypatch.setattr(gates, "WIDENING", {3: ("cohort_agreement",)})
    gates.check(3, Decimal(5))


def read(operator: Client) -> list[str]:
    return [operator.get(path).content.decode() for path in PAGES]


def status() -> str:
    out = io.StringIO()
    call_command("rollout", "status", stdout=out)
    return " ".join(out.getvalue().split())


@pytest.mark.usefixtures("_passed")
def test_it_works(operator: Client) -> None:
    home, rollout = read(operator)
    assert "All gates passed, ready for 5%" in home
    assert "All gates passed, checked" in rollout


@pytest.mark.usefixtures("_passed")
@pytest.mark.parametrize("phase", [1, 3])
def test_gates_of_an_earlier_step_do_not_count(operator: Client, phase: int) -> None:
    """A move of a phase that bounds this one makes its checks start again too."""
    if phase == 1:
        Flag.objects.filter(name=PHASES[0]).update(moved_at=timezone.now())
    else:
        change("set", phase=3, percent=5, by="root", reason="r")
    home, rollout = read(operator)
    assert UNCHECKED in home
    assert UNCHECKED in rollout
    assert "All gates passed" not in home + rollout


@pytest.mark.usefixtures("_passed")
def test_a_check_overtaken_by_a_step_does_not_count(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    GateCheck.objects.all().delete()
    asked = gates.OWN["cohort_agreement"]

    def step_meanwhile(step: TransitionStep) -> GateResult:
        change("set", phase=3, percent=5, by="root", reason="r")
        return asked(step)

    monkeypatch.setitem(gates.OWN, "cohort_agreement", step_meanwhile)
    gates.check(3, Decimal(5))
    assert GateCheck.objects.exists()
    assert UNCHECKED in read(operator)[0]


@pytest.mark.long
def test_two_of_three_checks_hold_the_page_and_the_step(operator: Client, phases: Phases) -> None:
    """The page once showed that all conditions hold after two checks, while the step refused."""
    operator.cookies["django_language"] = "en"
    phases(100, 100, 25)
    compared(700)
    for checked in (1, 2, 3):
        step = {result.gate: result for result in gates.check(3, Decimal(50)).results}["agreement"]
        page = operator.get("/admin/live/rollout/").content.decode()
        row = re.sub(r"<[^>]*>", " ", page.partition("<b>Agreement</b>")[2].partition("</tr>")[0])
        assert (step.verdict == Verdict.PASS) == (checked == 3)
        assert str(step.message) in row
        assert (f"consecutive checks passed: {checked} of 3" in status()) == (checked < 3)
        assert str(step.verdict.label) in row
        for check in GateCheck.objects.all():
            check.at -= timedelta(minutes=5)
            check.save()


@pytest.mark.long
def test_an_old_round_is_shown_as_old(operator: Client, phases: Phases) -> None:
    operator.cookies["django_language"] = "en"
    with time_machine.travel(timezone.now(), tick=False):
        rounds.take_round()
        assert "Measured just now" in " ".join(read(operator))
    IndicatorReading.objects.update(round_at=timezone.now() - timedelta(minutes=12))
    for path in (*PAGES, "/admin/live/cache/", "/admin/checklist/items/"):
        assert "These numbers are old: last measured 12\u00a0min ago" in operator.get(path).content.decode()
