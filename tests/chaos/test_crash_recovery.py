import random

import pytest

from tests.chaos.fake_direct_api import DirectApi
from tests.chaos.scenario import Plan, Scenario
from tests.chaos.system import PARTS, System

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "names", [[f"kill -9 {part}" for part in PARTS], ["Redis refuses", "locked", "stopped"], ["clock"]]
)
def test_it_keeps_every_promise_under_faults(system: System, messenger: DirectApi, names: list[str]) -> None:
    """Run the short form of ``make test-chaos``; to repeat a failed run, pass its seed there as ``--seed``."""
    assert set(system.durability().values()) == {"on"}
    plan = Plan(random.SystemRandom().randrange(10**9), seconds=12, names=names)
    findings = Scenario(system, messenger, plan).run(lambda scenario: None)
    assert (plan, findings.wrong()) == (plan, {})
