"""The demo at the size of `make demo`: the next step is open, and nothing is broken but the dead letters."""

from datetime import timedelta

import pytest
from pytest_django.fixtures import Settings
from redis import Redis

from config.dev.demo import history
from config.dev.demo.people import EMPLOYEES
from employees.models import Employee
from monitoring.indicators.models import IndicatorReading, Level
from monitoring.rollout_control import gates
from monitoring.rollout_control.models import Verdict
from monitoring.stats import comparison_stats
from profiles.rollout import rules

pytestmark = [pytest.mark.django_db, pytest.mark.integration, pytest.mark.timeout(300)]


def test_every_gate_of_the_next_step_passes(settings: Settings, redis: Redis) -> None:
    settings.DEBUG, settings.ROLLOUT_DWELL = True, timedelta(minutes=10)
    history.generate()
    assert Employee.objects.count() == EMPLOYEES
    evaluation = gates.evaluate(3, rules.percentage(50))
    assert [result.gate for result in evaluation.failing] == []
    assert {result.verdict for result in evaluation.results} == {Verdict.PASS}
    assert comparison_stats.stats_of(comparison_stats.recent()).n >= comparison_stats.SAMPLE_WANTED
    assert not IndicatorReading.objects.filter(level__in=[Level.CRITICAL, Level.ERROR]).exists()
