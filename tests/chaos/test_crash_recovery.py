import random

import pytest

from tests.chaos.scenario import Plan, Scenario
from tests.chaos.system import System

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]


@pytest.mark.timeout(180)
def test_it_loses_nothing_when_every_part_is_killed(system: System) -> None:
    """Run the short form of ``make test-chaos``; to repeat a failed run, pass its seed there as ``--seed``."""
    assert set(system.durability().values()) == {"on"}
    plan = Plan(seed=random.SystemRandom().randrange(10**9), updates=400, faults_per_part=1, seconds=6)
    result = Scenario(system, plan).run(lambda scenario: None)
    assert (plan, result.violations()) == (plan, {})
