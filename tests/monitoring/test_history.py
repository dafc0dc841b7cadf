from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from employees.models import Employee, University
from monitoring.history import FLOWS, METRICS, history
from monitoring.models import Snapshot, Span
from monitoring.snapshots import take
from tests.profiles.people import know
from tests.servers import FaultyServer
from tests.webhooks.inbox_rows import row
from webhooks.models import InboxUpdate, State

NOW = datetime(2026, 11, 25, 10, 20, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


def snapshot(metric: str, at: datetime, value: float, span: str = Span.HOUR) -> None:
    Snapshot.objects.create(span=span, metric=metric, at=at, value=value)


@time_machine.travel(NOW, tick=False)
def test_a_gap_is_shown_as_a_gap() -> None:
    top = NOW.replace(minute=0)
    snapshot("quality.score", top - 2 * HOUR, 81.5)
    snapshot("quality.score", top, 90.0)
    snapshot("quality.score", NOW.replace(hour=0, minute=0), 70.0, Span.DAY)
    series = history(["quality.score", "inbox.pending"], since=NOW - 2 * HOUR)
    assert series["quality.score"] == [(top - 2 * HOUR, 81.5), (top - HOUR, None), (top, 90.0)]
    assert [value for _, value in series["inbox.pending"]] == [None] * 3
    assert history(["quality.score"], since=NOW, step=Span.DAY)["quality.score"] == [
        (NOW.replace(hour=0, minute=0), 70)
    ]


@time_machine.travel(NOW, tick=False)
def test_it_reaches_back_as_far_as_points_are_kept() -> None:
    far = NOW - timedelta(days=4000)
    assert len(history(["users.total"], since=far)["users.total"]) == 30 * 24 + 1
    assert len(history(["users.total"], since=far, step=Span.DAY)["users.total"]) == 731


def test_it_refuses_an_unknown_metric_and_step() -> None:
    with pytest.raises(ValueError, match="no_such"):
        history(["no_such"], since=NOW)
    with pytest.raises(ValueError, match="fortnight"):
        history(["users.total"], since=NOW, step="fortnight")


@time_machine.travel(NOW, tick=False)
def test_the_task_takes_each_point_once(university: University) -> None:
    know("1")
    Employee.objects.create(phone="+79160000001", max_id="1", university=university)
    row(State.DEAD, HOUR, reason="ValueError")
    row(State.DONE, HOUR, processing_ms=3.0)
    take()
    know("2")
    with time_machine.travel(NOW + timedelta(minutes=30), tick=False):
        take()
    series = history(METRICS, since=NOW - HOUR)
    top = NOW.replace(minute=0)
    # The level is that of the first look; what flowed is known of the hour that is over.
    assert series["profiles.total"] == [(top - HOUR, None), (top, 1)]
    assert series["coverage.percent"] == [(top - HOUR, None), (top, 100)]
    assert series["webhook.events"] == [(top - HOUR, 2), (top, None)]
    assert series["webhook.error_percent"][0][1] == 50
    assert series["webhook.p95_ms"][0][1] == pytest.approx(3, rel=0.025)
    assert series["rollout.phase3_cache_first"][1][1] == 0
    assert all(points[1][1] is not None for name, points in series.items() if name not in FLOWS)
    assert history(["webhook.events"], since=NOW - DAY, step=Span.DAY)["webhook.events"][0][1] == 0


@time_machine.travel(NOW, tick=False)
def test_flows_are_made_up_for_and_corrected() -> None:
    row(State.DONE, 30 * HOUR)
    waiting = row(State.PENDING, 2 * HOUR)
    take()
    assert history(["webhook.events"], since=NOW - 30 * HOUR)["webhook.events"][0][1] == 1
    InboxUpdate.objects.filter(pk=waiting.pk).update(state=State.DEAD, finished_at=NOW)
    take()
    assert history(["webhook.failed"], since=NOW - 2 * HOUR)["webhook.failed"][0][1] == 1


def test_without_redis_the_cache_has_a_gap(redis_server: FaultyServer) -> None:
    redis_server.kill()
    take()
    now = timezone.now()
    assert history(["cache.profiles"], since=now)["cache.profiles"][0][1] is None
    assert history(["profiles.total"], since=now)["profiles.total"][0][1] == 0


def test_old_points_are_forgotten() -> None:
    for span, days in ((Span.HOUR, 31), (Span.HOUR, 29), (Span.DAY, 731), (Span.DAY, 729)):
        snapshot("users.total", timezone.now() - timedelta(days=days), 1, span)
    take()
    old = Snapshot.objects.filter(at__lt=timezone.now() - timedelta(days=20), metric="users.total")
    assert old.count() == 2
