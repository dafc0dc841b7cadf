"""What the inbox deletes, and when: by the time at which an update was finished."""

import logging
import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from tests.webhooks.inbox_rows import row
from webhooks import retention
from webhooks.models import DuplicateDelivery, InboxUpdate, State
from webhooks.tasks import prune_inbox

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_it_works(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    row(age=80 * HOUR)
    row(age=31 * DAY)
    row(State.DEAD, 91 * DAY)
    prune_inbox()
    assert [update.body for update in InboxUpdate.objects.all()] == [None]
    (record,) = caplog.records
    fields = {name: vars(record)[name] for name in ("event", "bodies", "events", "dead_letters", "repeats")}
    assert fields == {"event": "inbox_pruned", "bodies": 2, "events": 1, "dead_letters": 1, "repeats": 0}


@pytest.mark.parametrize("state", retention.SETTLED)
def test_bodies_go_after_3_days_and_events_after_30(state: State) -> None:
    hours = {row(state, number * HOUR).pk: number for number in (71, 73, 719, 721)}
    retention.prune()
    assert {hours[update.pk]: update.body is not None for update in InboxUpdate.objects.all()} == {
        71: True, 73: False, 719: False,
    }  # fmt: skip


@pytest.mark.parametrize(("age", "is_there"), [(2159 * HOUR, True), (2161 * HOUR, False)])
def test_a_dead_letter_can_be_replayed_for_90_days(age: timedelta, is_there: bool) -> None:
    row(State.DEAD, age)
    retention.prune()
    assert InboxUpdate.objects.all().replay_preview().replayable == is_there


def test_a_pending_update_is_never_pruned() -> None:
    update = row(State.PENDING, 1000 * DAY)
    retention.prune()
    assert InboxUpdate.objects.get(body__isnull=False) == update


def test_age_counts_from_the_end() -> None:
    row(age=1000 * DAY, finished_at=timezone.now())
    assert not any(retention.prune())


def test_duplicates_go_with_the_events() -> None:
    for age in (719 * HOUR, 721 * HOUR):
        DuplicateDelivery.objects.create(dedup_key=b"1", update_type="other", received_at=timezone.now() - age)
    assert retention.prune().repeats == 1
    assert DuplicateDelivery.objects.count() == 1


def test_the_ages_are_settings(settings: Settings) -> None:
    settings.INBOX_BODY_RETENTION = HOUR
    row(age=2 * HOUR)
    assert retention.prune().bodies == 1


def test_it_goes_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    for _ in range(25):
        row(age=100 * HOUR)
    with CaptureQueriesContext(connection) as queries:
        assert retention.prune().bodies == 25
    updates = [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]
    assert len(updates) == 3


def test_a_run_ends_after_its_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    monkeypatch.setattr(retention, "RUN_SECONDS", 0.0)
    for _ in range(25):
        row(age=100 * HOUR)
    assert [retention.prune().bodies for _ in range(4)] == [10, 10, 5, 0]


@pytest.fixture
def many_rows() -> None:
    """Create 50,000 settled updates and duplicates of all ages and 100 dead letters, as a month leaves them."""
    with connection.cursor() as cursor:
        cursor.execute("""
            INSERT INTO webhook_inbox (dedup_key, body, update_type, state, received_at, next_try_at, finished_at)
            SELECT n::text::bytea, CASE WHEN n % 10 = 0 THEN 'x'::bytea END, 'other',
                   CASE WHEN n % 500 = 0 THEN 'dead' ELSE 'done' END, at, at, at
            FROM (SELECT n, now() - n * interval '1 minute' AS at FROM generate_series(1, 50000) AS n) AS aged""")
        cursor.execute("""
            INSERT INTO webhook_repeats (dedup_key, update_type, received_at)
            SELECT 'x', 'other', now() - n * interval '1 minute' FROM generate_series(1, 50000) AS n""")
        cursor.execute("ANALYZE webhook_inbox, webhook_repeats")


@pytest.mark.long
@pytest.mark.usefixtures("many_rows")
def test_each_batch_is_found_by_an_index(settings: Settings) -> None:
    for name in ("BODY", "EVENT", "DEAD_LETTER"):
        setattr(settings, f"INBOX_{name}_RETENTION", 33 * DAY)
    plans = {
        name: rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[: retention.BATCH].explain()
        for name, rows in retention.due().items()
    }
    assert "Index Scan using webhook_inbox_with_body" in plans["bodies"]
    assert "Index Scan using webhook_inbox_settled" in plans["events"]
    assert "Index Scan using webhook_inbox_dead" in plans["dead_letters"]
    assert "Index Scan using webhook_repeats_received_at" in plans["repeats"]


@pytest.mark.django_db(transaction=True)
def test_it_skips_an_update_that_is_being_replayed() -> None:
    update = row(State.DEAD, 100 * DAY)
    with transaction.atomic():
        InboxUpdate.objects.filter(pk=update.pk).replay(by="root", reason="x", selection="x")
        pruned: list[retention.Pruned] = []

        def run() -> None:
            pruned.append(retention.prune())
            connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(60)
    assert pruned == [(0, 0, 0, 0)]
    assert InboxUpdate.objects.pending().get() == update
