import random

import pytest

from tests.chaos.ordeal import Ordeal, Plan
from tests.chaos.system import System

pytestmark = pytest.mark.xdist_group("slow")


@pytest.mark.timeout(180)
def test_kill_9_of_everything_loses_nothing(system: System) -> None:
    """The short form of ``make test-chaos``; a seed that failed is repeated there by ``--seed``."""
    assert set(system.durability().values()) == {"on"}
    plan = Plan(seed=random.SystemRandom().randrange(10**9), updates=400, faults_a_part=1, seconds=6)
    verdict = Ordeal(system, plan).run(lambda ordeal: None)
    assert (plan, verdict.complaints()) == (plan, {})
