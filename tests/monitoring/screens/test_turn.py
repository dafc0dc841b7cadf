"""What the pages tell of the step that is next: only what the gates said of this very step."""

from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from monitoring import gates
from monitoring.findings import Finding, Step
from monitoring.models import GateCheck, Verdict
from profiles.rollout.controls import Outcome
from profiles.rollout.models import PHASES, Flag
from profiles.rollout.sentences import Sentence
from tests.conftest import Phases
from tests.rollout.changing import change

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
PAGES = ("/admin/live/home/", "/admin/live/rollout/")


@pytest.fixture
def _passed(operator: Client, phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phase 3 at 1 %, and every gate passes for 5 %."""
    operator.cookies["django_language"] = "en"
    phases(100, 100, 1)
    monkeypatch.setattr(gates, "ask", lambda gate, _step: Finding(gate.__name__, Verdict.PASS, Sentence("quality")))
    monkeypatch.setattr(gates, "_IN_A_ROW", set())
    gates.check(3, Decimal(5))


def read(operator: Client) -> list[str]:
    return [operator.get(path).content.decode() for path in PAGES]


@pytest.mark.usefixtures("_passed")
def test_it_works(operator: Client) -> None:
    home, rollout = read(operator)
    assert "Every gate passes: 5 % may come" in home
    assert "Every gate passes, asked" in rollout


@pytest.mark.usefixtures("_passed")
@pytest.mark.parametrize("phase", [1, 3])
def test_the_gates_of_the_step_before_say_nothing_of_the_next(operator: Client, phase: int) -> None:
    """A phase that bounds this one, and comes down and goes up again, has this one begin anew too."""
    if phase == 1:
        Flag.objects.filter(name=PHASES[0]).update(moved_at=timezone.now())
    else:
        change("set", phase=3, percent=5, by="root", reason="r")
    home, rollout = read(operator)
    assert "the gates were not asked yet" in home
    assert "The gates were not asked yet" in rollout
    assert "Every gate passes" not in home + rollout


@pytest.mark.usefixtures("_passed")
def test_a_round_that_a_step_overtook_says_nothing_of_the_next(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    GateCheck.objects.all().delete()
    taken: list[Outcome] = []

    def step_meanwhile(gate: gates.Gate, _step: Step) -> Finding:
        if not taken:
            taken.append(change("set", phase=3, percent=5, by="root", reason="r"))
        return Finding(gate.__name__, Verdict.PASS, Sentence("quality"))

    monkeypatch.setattr(gates, "ask", step_meanwhile)
    gates.check(3, Decimal(5))
    assert GateCheck.objects.exists()
    assert "the gates were not asked yet" in read(operator)[0]
