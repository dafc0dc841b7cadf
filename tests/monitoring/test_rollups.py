"""The counts of the webhook equal a recount of the inbox, in every window, however and in whatever order it changed."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from config.lib import clock
from monitoring.stats import rollups
from monitoring.stats.models import Rollup, RollupDelta, Span
from monitoring.stats.reports import PERIODS, webhook_stats
from tests.webhooks.sending import send
from webhooks import retention
from webhooks.models import DuplicateDelivery, InboxUpdate, State
from webhooks.processing import process_inbox

TYPES = ("bot_started", "message_created", "other")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


def put(at: datetime, state: str = State.DONE, **fields: Any) -> InboxUpdate:
    return InboxUpdate.objects.create(
        dedup_key=random.randbytes(16),
        **{"update_type": "bot_started"} | fields,
        state=state,
        received_at=at,
        next_try_at=at,
        finished_at=None if state == State.PENDING else at + timedelta(seconds=1),
    )


def recount(period: str) -> dict[str, Any]:
    """The same numbers from the raw tables, by Python alone."""
    since = timezone.now() - PERIODS[period]
    rows = [row for row in InboxUpdate.objects.all() if since < row.received_at <= timezone.now()]
    states = Counter(row.state for row in rows)
    times = [row.processing_ms for row in rows if row.processing_ms is not None and row.state != State.PENDING]
    return {
        "total_events": len(rows),
        "successful_events": states["done"] + states["skipped"],
        "failed_events": states["quarantined"] + states["dead"],
        "pending_events": states["pending"],
        "duplicate_events": sum(since < row.received_at for row in DuplicateDelivery.objects.all()),
        "events_by_type": dict(Counter(row.update_type for row in rows)),
        "errors_by_type": dict(Counter(row.reason for row in rows if row.state in rollups.FAILED)),
        "profiles_extracted": sum(row.has_names for row in rows),
        "profiles_stored": sum(row.has_changed_profile for row in rows),
        "average_processing_time_ms": pytest.approx(sum(times) / len(times) if times else 0, abs=0.001),
    }


def recount_by(span: Span, since: datetime) -> dict[datetime, Counter[str]]:
    """The states of each hour or day, those without an update too, by Python alone."""
    now = timezone.now()
    is_day = span == Span.DAY
    slots = [now.replace(minute=0, second=0, microsecond=0) - number * HOUR for number in range(31 * 24 + 24)]
    found: dict[datetime, Counter[str]] = {
        slot: Counter()
        for slot in reversed(slots)
        if slot + (DAY if is_day else HOUR) > since and not (is_day and slot.hour)
    }
    for row in InboxUpdate.objects.all():
        if since < row.received_at <= now:
            slot = row.received_at.replace(minute=0, second=0, microsecond=0)
            found[slot.replace(hour=0) if is_day else slot][row.state] += 1
    return found


def percentiles(period: str) -> list[float]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY processing_ms) FROM webhook_inbox"
            " WHERE received_at > %s AND state <> 'pending'",
            [timezone.now() - PERIODS[period]],
        )
        return cursor.fetchone()[0] or [0.0, 0.0, 0.0]


updates = st.fixed_dictionaries(
    {
        "seconds": st.one_of(
            st.sampled_from([1800, 7200, 90_000]),
            # Around the edges of the windows, to the second.
            st.sampled_from([3600, 86_400, 7 * 86_400, 30 * 86_400]).flatmap(lambda s: st.integers(s - 70, s + 70)),
            st.integers(1, 40 * 86_400),
        ),
        "row": st.fixed_dictionaries(
            {
                "state": st.sampled_from(list(State)),
                "update_type": st.sampled_from(TYPES),
                "reason": st.sampled_from(["", "ValueError"]),
                "has_names": st.booleans(),
                "has_changed_profile": st.booleans(),
                "processing_ms": st.one_of(st.none(), st.floats(0.01, 5000)),
            }
        ),
        "becomes": st.sampled_from([None, *State]),
        "is_repeated": st.booleans(),
    }
)


@pytest.mark.long
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(population=st.lists(updates, max_size=25), folded=st.integers(0, 25), second=st.integers(0, 86_399))
def test_every_window_equals_a_recount(population: list[dict[str, Any]], folded: int, second: int) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC) + timedelta(seconds=second, microseconds=137)
    with time_machine.travel(now, tick=False), transaction.atomic(), override_settings(INBOX_EVENT_RETENTION=60 * DAY):
        live_through(population[:folded])
        rollups.roll_up()
        live_through(population[folded:])
        for period in PERIODS:
            stats, expected = webhook_stats(period), recount(period)
            assert {name: stats[name] for name in expected} == expected
            shares = [stats[f"p{share}_processing_time_ms"] for share in (50, 95, 99)]
            # Half a bucket, and what rounding to microseconds adds to the shortest.
            assert shares == pytest.approx(percentiles(period), rel=0.026, abs=0.005)
        for span, window in ((Span.HOUR, DAY), (Span.DAY, 30 * DAY)):
            slots = rollups.counts_by(span, now - window, now)
            assert {slot: +seen.states for slot, seen in slots.items()} == recount_by(span, now - window)
        transaction.set_rollback(True)


def live_through(population: list[dict[str, Any]]) -> None:
    """Let the updates come in, some of them again, and let some change afterwards."""
    now = timezone.now()
    for fields in population:
        row = put(now - timedelta(seconds=fields["seconds"]), **fields["row"])
        if fields["is_repeated"]:
            DuplicateDelivery.objects.create(
                dedup_key=row.dedup_key, update_type=row.update_type, received_at=row.received_at
            )
        if becomes := fields["becomes"]:
            finished_at = None if becomes == State.PENDING else now
            InboxUpdate.objects.filter(pk=row.pk).update(state=becomes, finished_at=finished_at)


@pytest.mark.django_db(transaction=True)
def test_it_works_from_the_webhook_to_the_report(phases: Callable[..., None]) -> None:
    phases(100, 100)
    person = {"user": {"user_id": 7, "first_name": "Иван"}, "chat_id": 1}
    for timestamp in (1, 2, 2):
        send({"update_type": "bot_started", "timestamp": timestamp} | person)
    send(b"{")
    assert (webhook_stats("hour")["total_events"], webhook_stats("hour")["pending_events"]) == (3, 2)
    process_inbox()
    stats = webhook_stats("hour")
    assert (stats["total_events"], stats["successful_events"], stats["pending_events"]) == (3, 2, 0)
    assert (stats["failed_events"], stats["duplicate_events"]) == (1, 1)
    assert (stats["profiles_extracted"], stats["profiles_stored"]) == (2, 2)
    assert stats["errors_by_type"] == {"the body is not JSON": 1}


def test_what_is_pruned_stays_counted() -> None:
    for days in (1, 12):
        put(timezone.now() - days * DAY, processing_ms=5.0)
    rollups.roll_up()
    InboxUpdate.objects.all().delete()
    assert webhook_stats("month")["total_events"] == 2
    assert webhook_stats("week")["total_events"] == 1
    assert webhook_stats("week")["p95_processing_time_ms"] == pytest.approx(5, rel=0.025)


def test_a_minute_being_pruned_counts_as_a_whole(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "of_database", timezone.now)
    settings.INBOX_EVENT_RETENTION = timedelta(days=30)
    now = datetime(2026, 11, 25, 10, 20, 40, tzinfo=UTC)
    with time_machine.travel(now, tick=False):
        put(now - timedelta(days=30, seconds=10))
        retention.prune()
        assert not InboxUpdate.objects.exists()
        stats = webhook_stats("month")
        assert (stats["total_events"], stats["period"]["from"]) == (1, now.replace(second=0) - timedelta(days=30))


def test_a_replay_counts_once() -> None:
    put(timezone.now() - 2 * HOUR, State.DEAD, reason="ValueError", body=b"{}")
    rollups.roll_up()
    assert webhook_stats("day")["failed_events"] == 1
    InboxUpdate.objects.replay(by="root", reason="again", selection="all")
    assert (webhook_stats("day")["failed_events"], webhook_stats("day")["pending_events"]) == (0, 1)
    assert webhook_stats("day")["errors_by_type"] == {}


def test_it_rolls_up_and_deletes_old_minutes() -> None:
    now = timezone.now()
    for ago in (HOUR, HOUR, 32 * DAY):
        put(now - ago)
        rollups.roll_up()
    assert not RollupDelta.objects.exists()
    spans = Counter(Rollup.objects.values_list("span", flat=True))
    assert spans == {Span.MINUTE: 1, Span.HOUR: 2, Span.SIX_HOURS: 2, Span.DAY: 2, Span.WEEK: 2}


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_ten_thousand_types_add_one_series(phases: Callable[..., None]) -> None:
    phases(100, 100)
    for start in range(0, 10_000, 100):
        envelope = {"updates": [{"update_type": f"t{number}", "timestamp": 1} for number in range(start, start + 100)]}
        send(envelope)
    process_inbox()
    assert webhook_stats("hour")["events_by_type"] == {"other": 10_000}
    rollups.roll_up()
    assert webhook_stats("hour")["events_by_type"] == {"other": 10_000}


def test_it_limits_types_and_reasons() -> None:
    for number in range(40):
        put(timezone.now(), State.DEAD, update_type=f"t{number}", reason=f"r{number}")
    stats = webhook_stats("hour")
    assert stats["events_by_type"] == {"other": 40}
    assert (len(stats["errors_by_type"]), stats["errors_by_type"]["other"]) == (21, 20)


@pytest.mark.django_db
def test_an_update_that_finishes_meanwhile_is_counted(django_assert_num_queries: Any) -> None:
    """What waits and what is settled is counted at one moment, which is one statement."""
    until = timezone.now()
    with django_assert_num_queries(1):
        rollups.counts(until - timedelta(hours=1), until)
