import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from pytest_django.fixtures import Settings
from redis import Redis
from waffle.models import Switch

from profiles import cache
from profiles.models import Profile
from profiles.rollout.decision import forget_state
from profiles.rollout.phases import EMERGENCY_STOP
from profiles.tasks import refill_cache
from tests.conftest import Phases
from tests.profiles.people import cached
from tests.rollout.changing import change
from tests.servers import FaultyServer
from tests.waiting import PATIENCE
from tests.webhooks.inbox_rows import rows
from tests.webhooks.sending import send
from webhooks import processing
from webhooks.management.commands.process_inbox import process_from_both_ends
from webhooks.models import InboxQuerySet, InboxUpdate, State
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]


def started(user_id: int, timestamp: int, first_name: str) -> dict[str, Any]:
    user = {"user_id": user_id, "first_name": first_name, "last_name": f"v{timestamp}"}
    return {"update_type": "bot_started", "timestamp": timestamp, "chat_id": user_id, "user": user}


def post(body: Any) -> int:
    return send(body).status


def states() -> dict[str, int]:
    values = list(InboxUpdate.objects.values_list("state", flat=True))
    return {state: values.count(state) for state in set(values)}


def test_it_works(redis: Redis) -> None:
    post(started(7, 1000, "Анна"))
    assert process_inbox() == 1
    profile = Profile.objects.get()
    assert (profile.user_id, profile.first_name, profile.last_name) == ("7", "Анна", "v1000")
    assert cached(redis, "7")["max_first_name"] == "Анна"
    update = InboxUpdate.objects.get()
    assert (update.state, update.user_id, update.has_names, update.has_changed_profile) == (State.DONE, "7", True, True)
    assert update.finished_at
    assert process_inbox() == 0


def test_an_older_update_changes_nothing_in_any_order(redis: Redis) -> None:
    for order in ((1, 2), (2, 1)):
        for timestamp in order:
            post(started(order[0], timestamp, f"name {timestamp}"))
            process_inbox()
        assert Profile.objects.get(pk=order[0]).first_name == "name 2"
        assert cached(redis, str(order[0]))["max_first_name"] == "name 2"


def test_an_own_name_survives_every_update(redis: Redis) -> None:
    message = {
        "sender": {"user_id": 7, "first_name": "Анна"},
        "recipient": {"chat_type": "dialog"},
        "body": {"mid": "m1", "text": "меня зовут Аня"},
    }
    post({"update_type": "message_created", "timestamp": 1000, "message": message})
    for timestamp in range(2000, 2010):
        post(started(7, timestamp, "Другая"))
    process_inbox()
    entry = cached(redis, "7")
    assert (entry["user_provided_name"], entry["source"]) == ("Аня", "user_input")


def test_a_person_without_an_id_is_quarantined() -> None:
    post({"update_type": "bot_started", "timestamp": 1, "chat_id": 1, "user": {"user_id": True}})
    post(started(7, 1, "Анна"))
    process_inbox()
    assert states() == {State.QUARANTINED: 1, State.DONE: 1}


def test_an_emergency_stop_during_a_batch_skips_no_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker has taken before the stop is processed, and the rest waits; nothing is lost for good."""
    monkeypatch.setattr(processing, "BATCH", 1)
    for number in (1, 2):
        post(started(number, 1000, "Анна"))

    def stop() -> None:
        change("emergency")
        forget_state()

    assert process_inbox(when_behind=stop) == 1
    assert states() == {State.DONE: 1, State.PENDING: 1}
    change("resume")
    forget_state()
    process_inbox()
    assert State.PENDING not in states()


def test_an_emergency_stop_that_sets_only_its_latch_skips_no_update() -> None:
    """It does so while another transaction holds the rollout's lock, which leaves the switch of processing on."""
    post(started(1, 1000, "Анна"))
    Switch.objects.filter(name=EMERGENCY_STOP).update(active=True)
    forget_state()
    assert Switch.objects.get(name="webhook_processing").active
    assert process_inbox() == 0
    assert states() == {State.PENDING: 1}
    change("resume")
    forget_state()
    assert process_inbox() == 1
    assert states() == {State.DONE: 1}


def test_while_phase_2_is_off_updates_are_skipped(phases: Phases) -> None:
    phases(100)
    post(started(7, 1, "Анна"))
    process_inbox()
    assert states() == {State.SKIPPED: 1}
    assert not Profile.objects.exists()


@pytest.mark.parametrize("percents", [(100,), (100, 100)])
def test_many_updates_cost_no_more_queries_than_one(
    phases: Phases, percents: tuple[int, ...], django_assert_max_num_queries: Any
) -> None:
    """Skipped and malformed updates included."""
    phases(*percents)
    for chat_id in range(30):
        post({"update_type": "bot_started", "timestamp": 1, "chat_id": chat_id, "user": {"user_id": True}})
    with django_assert_max_num_queries(20):
        assert process_inbox() == 30


def test_while_processing_is_off_updates_wait(settings: Settings) -> None:
    settings.WEBHOOK_ENABLED = False
    assert post(started(7, 1, "Анна")) == 200
    assert process_inbox() == 0
    assert states() == {State.PENDING: 1}
    settings.WEBHOOK_ENABLED = True
    assert process_inbox() == 1
    assert Profile.objects.exists()


def test_it_stops_between_two_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.processing.BATCH", 2)
    for user_id in range(1, 7):
        post(started(user_id, 1, "Анна"))
    assert process_inbox(Profile.objects.exists) == 2
    assert states() == {State.DONE: 2, State.PENDING: 4}


@pytest.mark.long
def test_new_updates_do_not_wait_for_a_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.processing.BATCH", 20)
    rows(1000, State.PENDING, timedelta(hours=1))
    rows(20, State.PENDING)
    first, rounds, has_processed = threading.current_thread(), [0, 0], threading.Event()

    def is_stopping() -> bool:
        """Let the first thread wait before its second batch until the second thread has finished one."""
        is_second = threading.current_thread() is not first
        rounds[is_second] += 1
        if is_second and rounds[1] == 2:
            has_processed.set()
        elif not is_second and rounds[0] == 2:
            has_processed.wait(PATIENCE)
        return False

    with ThreadPoolExecutor(1) as second_thread:
        process_from_both_ends(is_stopping, second_thread)
    assert states() == {State.DONE: 1020}
    in_order = list(InboxUpdate.objects.order_by("finished_at").values_list("received_at", flat=True))
    new = max(in_order)
    assert in_order.index(new) < 500, "the first of the new updates is finished while half of the backlog waits"


@pytest.mark.long
def test_a_failure_of_the_second_thread_is_raised_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.processing.BATCH", 20)
    rows(1000, State.PENDING)
    take = InboxQuerySet.take

    def fail_for_the_newest(self: InboxQuerySet, limit: int, *, newest: bool = False) -> list[InboxUpdate]:
        if newest:
            raise OperationalError("connection lost")
        return take(self, limit)

    monkeypatch.setattr(InboxQuerySet, "take", fail_for_the_newest)
    with ThreadPoolExecutor(1) as second_thread, pytest.raises(OperationalError, match="connection lost"):
        process_from_both_ends(lambda: False, second_thread)
    assert states() == {State.DONE: 1000}


@pytest.mark.long
@pytest.mark.parametrize("fault", ["pause", "kill"])
def test_a_stopped_redis_loses_nothing(redis_server: FaultyServer, redis: Redis, fault: str) -> None:
    getattr(redis_server, fault)()
    assert post(started(7, 1, "Анна")) == 200
    assert process_inbox() == 1
    assert Profile.objects.get().is_cache_behind
    if fault == "kill":
        redis_server.start()
    else:
        redis_server.resume()
    cache.breaker.close()
    assert refill_cache() == 1
    assert cached(redis, "7")["max_first_name"] == "Анна"


def test_the_latest_wins_from_eight_connections(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 people, 20 updates each, sent and processed in any order by eight connections at once."""
    monkeypatch.setattr("webhooks.processing.BATCH", 7)
    seed = random.randrange(10**6)
    print("seed", seed)  # noqa: T201
    shuffled = [started(person, time, f"name {time}") for person in range(1, 41) for time in range(1, 21)]
    random.Random(seed).shuffle(shuffled)

    def work(part: list[dict[str, Any]]) -> None:
        try:
            for update in part:
                assert post(update) == 200
                process_inbox(iter((False, True)).__next__)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, (shuffled[start::8] for start in range(8))))
    process_inbox()

    assert states() == {State.DONE: 800}
    assert set(Profile.objects.values_list("first_name", "last_name")) == {("name 20", "v20")}
    entries = [cached(redis, str(person)) for person in range(1, 41)]
    assert {entry["max_first_name"] for entry in entries} == {"name 20"}
