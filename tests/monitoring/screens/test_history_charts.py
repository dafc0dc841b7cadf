"""Charts show the first reading of an indicator in each hour or day."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from employees.models import Employee, University
from monitoring.dashboard import charts
from monitoring.indicators import rounds
from monitoring.indicators.models import IndicatorReading
from tests.e2e.sample_data import add_reading
from tests.servers import FaultyServer

NOW = datetime(2026, 11, 25, 10, 20, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


@time_machine.travel(NOW, tick=False)
def test_a_gap_is_shown_as_a_gap() -> None:
    top = NOW.replace(minute=0)
    for at, value in ((top - 2 * HOUR, 0.815), (top - HOUR, None), (top, 0.9), (top + timedelta(minutes=10), 0.2)):
        add_reading("cache_hit_rate", at, value)
    add_reading("cache_hit_rate", top - 50 * HOUR, 0.1)
    chart = charts.hit_rate()
    assert chart is not None
    (line,) = chart["series"]
    assert len(line["data"]) == len(chart["labels"]) == 49
    assert line["data"][-3:] == [81.5, None, 90.0]
    assert line["data"][:-3] == [None] * 46


@time_machine.travel(NOW, tick=False)
def test_one_reading_is_no_line() -> None:
    add_reading("cache_hit_rate", NOW - HOUR, 0.9)
    assert (charts.hit_rate(), charts.memory(None), charts.source_history()) == (None, None, None)


@time_machine.travel(NOW, tick=False)
def test_it_shows_employees_as_counted_first_on_each_day(university: University) -> None:
    add_reading("coverage", NOW - 29 * DAY, 1, {"employees_by_source": {"api": 4}})
    Employee.objects.create(phone="+79160000001", university=university)
    rounds.take_round()
    Employee.objects.create(phone="+79160000002", university=university)
    with time_machine.travel(NOW + timedelta(minutes=30), tick=False):
        rounds.take_round()
        chart = charts.source_history()
    assert chart is not None
    values = {line["label"]: line["data"] for line in chart["series"]}
    assert len(values) == 5
    assert all(len(data) == 30 and data[1:-1] == [None] * 28 for data in values.values())
    assert sorted(data[0] for data in values.values()) == [0, 0, 0, 0, 4]
    assert sorted(data[-1] for data in values.values()) == [0, 0, 0, 0, 1]


def test_without_redis_the_cache_has_a_gap(redis_server: FaultyServer) -> None:
    redis_server.kill()
    rounds.take_round()
    names = IndicatorReading.objects.filter(value__isnull=False).values_list("name", flat=True)
    assert "coverage" in names
    assert "cache_memory" not in names
