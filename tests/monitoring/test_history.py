from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from employees.models import Employee, University
from monitoring.stats.models import Snapshot, Span
from monitoring.stats.snapshots import METRICS, history, take
from tests.servers import FaultyServer

NOW = datetime(2026, 11, 25, 10, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


def snapshot(metric: str, at: datetime, value: float, span: str = Span.HOUR) -> None:
    Snapshot.objects.create(span=span, metric=metric, at=at, value=value)


@time_machine.travel(NOW, tick=False)
def test_a_gap_is_shown_as_a_gap() -> None:
    top = NOW.replace(minute=0)
    snapshot("cache.hit_rate", top - 2 * HOUR, 0.815)
    snapshot("cache.hit_rate", top, 0.9)
    snapshot("cache.hit_rate", NOW.replace(hour=0, minute=0), 0.7, Span.DAY)
    series = history(["cache.hit_rate", "employees.api"], since=NOW - 2 * HOUR)
    assert series["cache.hit_rate"] == [(top - 2 * HOUR, 0.815), (top - HOUR, None), (top, 0.9)]
    assert [value for _, value in series["employees.api"]] == [None] * 3
    assert history(["cache.hit_rate"], since=NOW, span=Span.DAY)["cache.hit_rate"] == [
        (NOW.replace(hour=0, minute=0), 0.7)
    ]


@time_machine.travel(NOW, tick=False)
def test_it_reaches_back_as_far_as_points_are_kept() -> None:
    far = NOW - timedelta(days=4000)
    assert len(history(["employees.api"], since=far)["employees.api"]) == 30 * 24 + 1
    assert len(history(["employees.api"], since=far, span=Span.DAY)["employees.api"]) == 731


def test_it_refuses_an_unknown_metric_and_span() -> None:
    with pytest.raises(ValueError, match="no_such"):
        history(["no_such"], since=NOW)
    with pytest.raises(KeyError):
        history(["employees.api"], since=NOW, span=Span.WEEK)


@time_machine.travel(NOW, tick=False)
def test_the_task_takes_each_point_once(university: University) -> None:
    Employee.objects.create(phone="+79160000001", university=university)
    take()
    Employee.objects.create(phone="+79160000002", university=university)
    with time_machine.travel(NOW + timedelta(minutes=30), tick=False):
        take()
    series = history(METRICS, since=NOW - HOUR)
    top = NOW.replace(minute=0)
    # As it was at the first look.
    assert series["employees.manual"] == [(top - HOUR, None), (top, 1)]
    assert series["employees.api"][1][1] == 0
    assert all(points[1][1] is not None for points in series.values())
    assert history(["employees.manual"], since=NOW, span=Span.DAY)["employees.manual"][0][1] == 1


def test_without_redis_the_cache_has_a_gap(redis_server: FaultyServer) -> None:
    redis_server.kill()
    take()
    now = timezone.now()
    assert history(["cache.hit_rate"], since=now)["cache.hit_rate"][0][1] is None
    assert history(["employees.api"], since=now)["employees.api"][0][1] == 0


def test_old_points_are_forgotten() -> None:
    for span, days in ((Span.HOUR, 31), (Span.HOUR, 29), (Span.DAY, 731), (Span.DAY, 729)):
        snapshot("employees.api", timezone.now() - timedelta(days=days), 1, span)
    take()
    old = Snapshot.objects.filter(at__lt=timezone.now() - timedelta(days=20), metric="employees.api")
    assert old.count() == 2


def test_metrics_of_earlier_releases_are_forgotten() -> None:
    snapshot("inbox.pending", timezone.now(), 1)
    take()
    assert set(Snapshot.objects.values_list("metric", flat=True)) == set(METRICS)
