from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from monitoring.history import history
from monitoring.models import Snapshot, Span

NOW = datetime(2026, 11, 25, 10, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)

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
