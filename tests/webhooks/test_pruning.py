"""What the inbox forgets, and when: by the moment an update was finished."""

import logging
import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet
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
    said = {name: vars(record)[name] for name in ("event", "bodies", "events", "dead_letters", "repeats")}
    assert said == {"event": "inbox_pruned", "bodies": 2, "events": 1, "dead_letters": 1, "repeats": 0}


@pytest.mark.parametrize("state", retention.SETTLED)
@pytest.mark.parametrize(
    ("age", "is_there", "has_body"),
    [(71 * HOUR, True, True), (73 * HOUR, True, False), (719 * HOUR, True, False), (721 * HOUR, False, False)],
)
def test_bodies_go_after_three_days_and_events_after_thirty(
    state: State, age: timedelta, is_there: bool, has_body: bool
) -> None:
    row(state, age)
    retention.prune()
    assert [update.body is not None for update in InboxUpdate.objects.all()] == ([has_body] if is_there else [])


@pytest.mark.parametrize(("age", "is_there"), [(2159 * HOUR, True), (2161 * HOUR, False)])
def test_a_dead_letter_stays_ninety_days_and_can_be_replayed_as_long(age: timedelta, is_there: bool) -> None:
    row(State.DEAD, age)
    retention.prune()
    assert InboxUpdate.objects.replayable().count() == is_there


def test_what_waits_is_never_pruned() -> None:
    update = row(State.PENDING, 1000 * DAY)
    retention.prune()
    assert InboxUpdate.objects.get(body__isnull=False) == update


def test_age_counts_from_the_end_not_from_the_arrival() -> None:
    row(age=1000 * DAY, finished_at=timezone.now())
    assert not any(retention.prune())


def test_repeats_go_with_the_events() -> None:
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


def test_a_run_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    monkeypatch.setattr(retention, "RUN_SECONDS", 0.0)
    for _ in range(25):
        row(age=100 * HOUR)
    assert [retention.prune().bodies for _ in range(4)] == [10, 10, 5, 0]


@pytest.fixture
def many_rows() -> None:
    """Fifty thousand settled updates and repeats of all ages, a hundred dead letters, as a month leaves them."""
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


@pytest.mark.usefixtures("many_rows")
def test_each_batch_is_found_by_an_index() -> None:
    day_ago = timezone.now() - 33 * DAY

    def plan(due: QuerySet) -> str:  # type: ignore[type-arg]
        return due.select_for_update(skip_locked=True).values_list("pk", flat=True)[: retention.BATCH].explain()

    assert "Index Scan using webhook_inbox_with_body" in plan(retention.bodies_before(day_ago))
    assert "Index Scan using webhook_inbox_settled" in plan(retention.events_before(day_ago))
    assert "Index Scan using webhook_inbox_dead" in plan(retention.dead_letters_before(day_ago))
    assert "Index Scan using webhook_repeats_received_at" in plan(retention.duplicates_before(day_ago))


@pytest.mark.django_db(transaction=True)
def test_what_is_being_replayed_is_passed_over() -> None:
    update = row(State.DEAD, 100 * DAY)
    with transaction.atomic():
        InboxUpdate.objects.filter(pk=update.pk).replay(by="root", reason="x", selection="x")
        pruned: list[retention.Pruned] = []

        def run() -> None:
            pruned.append(retention.prune())
            connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(5)
    assert pruned == [(0, 0, 0, 0)]
    assert InboxUpdate.objects.pending().get() == update
