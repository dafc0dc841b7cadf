"""A poison update: retried with growing pauses, then a dead letter; it does not hold up the rest."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import DataError, OperationalError, ProgrammingError, connection
from django.utils import timezone
from redis import Redis

from config.lib import logs
from profiles.models import Profile
from tests.webhooks.sending import send
from webhooks import payloads
from webhooks.models import InboxUpdate, Replay, State
from webhooks.processing import RETRY_SECONDS, process_inbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]


def arrive(user_id: int) -> None:
    user = {"user_id": user_id, "first_name": "Анна"}
    send({"update_type": "bot_started", "timestamp": 1, "chat_id": user_id, "user": user})


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every update of user 666 fail with an unexpected error."""
    read = payloads.read

    def fail(update: Any, received_at: Any) -> payloads.Reading:
        if update["chat_id"] == 666:
            raise ZeroDivisionError("\0" + "x" * 20_000)
        return read(update, received_at)

    monkeypatch.setattr("webhooks.payloads.read", fail)


@pytest.mark.usefixtures("poison")
def test_it_does_not_hold_up_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    # In a second, it would be tried again before the rest on a busy machine.
    monkeypatch.setattr("webhooks.processing.RETRY_SECONDS", (100,))
    before = timezone.now()
    for user_id in (1, 2, 666, 3, 4):
        arrive(user_id)
    assert process_inbox() == 4
    assert set(Profile.objects.values_list("user_id", flat=True)) == {"1", "2", "3", "4"}
    waiting = InboxUpdate.objects.pending().get()
    assert waiting.tries == 1
    assert before + timedelta(seconds=90) < waiting.next_try_at < timezone.now() + timedelta(seconds=110)


@pytest.mark.usefixtures("poison")
def test_it_ends_as_a_dead_letter_with_its_traceback() -> None:
    arrive(666)
    waits = []
    with time_machine.travel(timezone.now(), tick=False) as clock:
        while True:
            process_inbox()
            update = InboxUpdate.objects.get()
            if update.state == State.DEAD:
                break
            waits.append((update.next_try_at - timezone.now()).total_seconds())
            clock.move_to(update.next_try_at)
    assert [0.9 * base <= wait <= 1.1 * base for base, wait in zip(RETRY_SECONDS, waits, strict=True)] == [True] * 5
    assert (update.reason, update.tries) == ("ZeroDivisionError", 6)
    assert update.finished_at
    assert update.body
    assert len(update.error) <= 8 * 1024


def test_it_stores_nothing_of_a_refused_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL quotes the whole row: “Failing row contains (30005, Бум, …)”."""

    row: dict[str, Any] = {"user_id": "30005", "first_name": "Бум", "last_updated": timezone.now()}

    def without_clock(*args: object) -> None:
        Profile.objects.create(**row)

    arrive(7)
    monkeypatch.setattr("profiles.models.ProfileQuerySet.merge", without_clock)
    process_inbox()
    stored = InboxUpdate.objects.get().error
    assert "profile_cache_first_name_has_clock" in stored.splitlines()[-1]
    assert "in without_clock" in stored
    assert not [word for word in ("30005", "Бум", "DETAIL") if word in stored]


@pytest.mark.parametrize("statement", ["SELECT 'Бум'::bigint", "SELECT repeat('x', 3)::date -- Бум"])
def test_it_stores_no_value_of_a_refused_statement(statement: str) -> None:
    with pytest.raises(DataError) as refused, connection.cursor() as cursor:
        cursor.execute(statement)
    assert re.fullmatch("DataError: 22...", logs.error_line(refused.value))
    assert "Бум" not in logs.error_text(refused.value)


def test_a_database_outage_is_not_a_failed_try(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object) -> None:
        raise OperationalError

    arrive(7)
    with monkeypatch.context() as patch:
        patch.setattr("profiles.models.ProfileQuerySet.merge", away)
        with pytest.raises(OperationalError):
            process_inbox()
    assert InboxUpdate.objects.get().tries == 0
    assert process_inbox() == 1


def test_redis_does_not_serve_what_was_rolled_back(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        assert redis.exists("profile:user:7")
        raise DataError

    arrive(7)
    monkeypatch.setattr("webhooks.models.InboxQuerySet.finish", fail)
    process_inbox()
    assert not Profile.objects.exists()
    assert not redis.exists("profile:user:7")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "the body is not a JSON object"),
        (b"[1]", "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b'{"updates": "x"}', "“updates” is not a list of objects"),
        (json.dumps({"updates": [{"update_type": "bot_started"}] * 101}).encode(), "the envelope holds more than 100"),
        (b"{", "the body is not JSON"),
    ],
    ids=("empty array", "array", "null", "string", "101 updates", "not JSON"),
)
def test_a_replayed_malformed_body_is_quarantined_again(body: bytes, reason: str) -> None:
    send(body)
    InboxUpdate.objects.all().replay(by="root", reason="tried", selection="all")
    assert process_inbox() == 1
    update = InboxUpdate.objects.get()
    assert (update.state, update.tries) == (State.QUARANTINED, 0)
    assert update.reason.startswith(reason)


def test_it_stops_when_no_update_can_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a migration that the new release needs, say: the loop of the command waits a second and logs."""
    limits: list[int] = []

    def unknown_column(self: object, limit: int, **_: Any) -> list[InboxUpdate]:
        limits.append(limit)
        if len(limits) == 9:
            pytest.fail("it never stops")
        raise ProgrammingError

    monkeypatch.setattr("webhooks.models.InboxQuerySet.take", unknown_column)
    with pytest.raises(ProgrammingError):
        process_inbox()


@pytest.mark.usefixtures("poison")
def test_a_replay_resets_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    arrive(666)
    InboxUpdate.objects.update(state=State.DEAD, tries=6, finished_at=timezone.now(), reason="x")
    assert InboxUpdate.objects.all().replay(by="root", reason="fixed", selection="all").count == 1
    monkeypatch.undo()
    assert process_inbox() == 1
    assert InboxUpdate.objects.get().state == State.DONE
    audit = Replay.objects.get()
    assert (audit.by, audit.reason, audit.selection, audit.count) == ("root", "fixed", "all", 1)
