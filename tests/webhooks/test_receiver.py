import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import time_machine
from django.db import connection, transaction
from prometheus_client import Counter
from pytest_django.fixtures import Settings

from config.rsgi.intake import LARGEST_DISCARDED
from tests import loops
from tests.waiting import PATIENCE, seconds_until, within
from tests.webhooks import sending
from tests.webhooks.sending import Protocol, send
from webhooks import group_commit, inbox
from webhooks.inbox import store
from webhooks.models import DuplicateDelivery, InboxUpdate, State
from webhooks.receiver import LARGEST_BODY, empty_envelopes, old_secrets

DEADLINE_SECONDS, CANCEL_SECONDS = group_commit.DEADLINE_SECONDS, inbox._CANCEL_SECONDS
UPDATE = {
    "update_type": "bot_started",
    "timestamp": 1775025604499,
    "chat_id": 5,
    "user": {"user_id": 7, "first_name": "Анна"},
}

pytestmark = pytest.mark.django_db(transaction=True)


def states() -> list[str]:
    return list(InboxUpdate.objects.order_by("id").values_list("state", flat=True))


def counted(counter: Counter) -> float:
    return next(sample.value for metric in counter.collect() for sample in metric.samples)


def test_it_works() -> None:
    answer = send(UPDATE)
    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')
    assert answer.headers["content-type"] == "application/json"
    update = InboxUpdate.objects.get()
    assert json.loads(bytes(update.body or b"")) == UPDATE
    assert (update.update_type, update.state) == ("bot_started", State.PENDING)


@pytest.mark.parametrize("path", ["/webhook/max", "/webhook/max/", "/api/v1/webhook/max", "/api/v1/webhook/max/"])
def test_each_spelling_of_the_path_is_served(path: str) -> None:
    assert send(UPDATE, path=path).status == 200
    assert states() == [State.PENDING]


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head", "options"])
def test_it_refuses_other_methods(method: str) -> None:
    answer = send(UPDATE, method=method.upper())
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("given", ["", "wrong", "secret-number-on", "secret-number-onë"])
def test_it_refuses_a_wrong_secret(settings: Settings, given: str) -> None:
    settings.WEBHOOK_SECRETS = [b"secret-number-one"]
    headers: Any = {"x_max_bot_api_secret": given} if given else {}
    answer = send(UPDATE, **headers)
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert not InboxUpdate.objects.exists()


@pytest.mark.parametrize("given", ["secret-number-one", "secret-number-two"])
def test_both_secrets_are_valid_during_a_rotation(settings: Settings, given: str) -> None:
    settings.WEBHOOK_SECRETS = [b"secret-number-one", b"secret-number-two"]
    before = old_secrets._value.get()
    assert send(UPDATE, x_max_bot_api_secret=given).status == 200
    assert old_secrets._value.get() - before == (given == "secret-number-two")


def test_it_refuses_a_body_over_the_limit() -> None:
    def of_length(length: int) -> bytes:
        return b'{"a":"%s"}' % (b"x" * (length - len('{"a":""}')))

    assert send(of_length(LARGEST_BODY)).status == 200
    assert send(chunked=Protocol([of_length(LARGEST_BODY - 1)])).status == 200
    for answer in (send(of_length(LARGEST_BODY + 1)), send(chunked=Protocol([of_length(LARGEST_BODY + 1)]))):
        assert (answer.status, answer.code) == (413, "PAYLOAD_TOO_LARGE")


def test_a_body_that_was_cut_off_has_to_be_sent_again() -> None:
    answer = send(chunked=Protocol([b'{"update_type":'], is_cut_off=True))
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert not InboxUpdate.objects.exists()


def test_an_endless_body_is_refused() -> None:
    endless = Protocol([b"x" * LARGEST_BODY] * 10_000)
    assert send(chunked=endless).status == 413
    assert endless.consumed <= LARGEST_DISCARDED + LARGEST_BODY


def test_it_refuses_an_encoded_body() -> None:
    assert send(UPDATE, content_encoding="gzip").status == 415
    assert send(UPDATE, content_encoding="Identity").status == 200


def test_it_refuses_a_form_but_not_json_of_any_type() -> None:
    for form in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert send(b"a=b", content_type=form).status == 415
    assert send(UPDATE, content_type=form).status == 200
    assert send(b"x", content_type="text/plain").status == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"not json", "the body is not JSON"),
        (b'{"a": NaN}', "the body is not JSON"),
        (b"\xff\xfe{", "the body is not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "the body is not UTF-8"),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b"[]", "the body is not a JSON object"),
        (b"1", "the body is not a JSON object"),
        (b'{"updates": 1}', "“updates” is not a list of objects"),
        (json.dumps({"updates": [UPDATE] * 101}).encode(), "the envelope holds more than 100 updates"),
    ],
    ids=range(11),
)
def test_a_malformed_body_is_quarantined(body: bytes, reason: str) -> None:
    assert send(body).status == 200
    update = InboxUpdate.objects.get()
    assert (update.state, update.reason, bytes(update.body or b"")) == (State.QUARANTINED, reason, body)


def test_each_update_of_an_envelope_is_a_row() -> None:
    updates = [UPDATE | {"chat_id": number} for number in range(100)]
    assert send({"updates": updates, "marker": 1}).status == 200
    assert states() == [State.PENDING] * 100


def test_an_empty_envelope_is_accepted_and_counted() -> None:
    before = counted(empty_envelopes)
    assert send({"updates": [], "marker": None}).status == 200
    assert states() == []
    assert counted(empty_envelopes) == before + 1


def test_a_duplicate_is_counted_and_not_stored_again() -> None:
    for _ in range(3):
        assert send(UPDATE).status == 200
    assert len(states()) == 1
    assert list(DuplicateDelivery.objects.values_list("is_conflict", flat=True)) == [False, False]


def test_a_duplicate_within_an_envelope_is_counted() -> None:
    assert send({"updates": [UPDATE, UPDATE]}).status == 200
    assert (len(states()), DuplicateDelivery.objects.count()) == (1, 1)


def test_other_content_under_the_same_key_is_a_conflict() -> None:
    send(UPDATE)
    send(json.dumps(UPDATE, indent=1).encode())
    send(UPDATE | {"user": {"user_id": 7, "first_name": "Яна"}})
    assert list(DuplicateDelivery.objects.order_by("id").values_list("is_conflict", flat=True)) == [False, True]
    assert json.loads(bytes(InboxUpdate.objects.get().body or b"")) == UPDATE


def test_a_conflict_too_deep_to_compare_is_counted() -> None:
    """Comparing needs some frames of the stack more than reading did: at some depth there are none left."""
    head = b'{"update_type": "message_created", "message": {"body": {"mid": "%d"}}, "deep": '
    pairs = [
        head % depth + b"[" * depth + word + b"]" * depth + b"}" for depth in range(850, 1000) for word in (b"1", b"2")
    ]
    assert {send(body).status for body in pairs} == {200}


LEGACY = {"type": "message_new", "message": {"from": {"user_id": "7"}}}


@pytest.mark.parametrize(("minutes", "rows"), [(0, 1), (4, 1), (9, 1), (11, 2), (25, 2)])
def test_a_body_without_a_key_is_a_duplicate_for_10_minutes(minutes: int, rows: int) -> None:
    start = datetime(2026, 11, 24, 12, 7, tzinfo=UTC)
    for moment in (start, start + timedelta(minutes=minutes)):
        with time_machine.travel(moment, tick=False):
            assert send(LEGACY).status == 200
    assert len(states()) == rows


@pytest.fixture
def _database_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*args: Any) -> None:
        raise psycopg.OperationalError("the server is gone")

    monkeypatch.setattr("webhooks.group_commit.store", refuse)


@pytest.mark.usefixtures("_database_refuses")
def test_it_answers_503_when_it_cannot_store() -> None:
    answer = send(UPDATE)
    assert (answer.status, answer.headers["retry-after"], answer.code) == (503, "5", "UNAVAILABLE")


def queued() -> int:
    return len(sending._receivers[0]._committer._queue)


def test_waiting_requests_are_committed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    async def slow_store(conn: Any, arrivals: Any) -> None:
        if not sizes:
            await loops.until(lambda: len(arrivals) + queued() == 16)
        sizes.append(len(arrivals))
        await store(conn, arrivals)

    monkeypatch.setattr("webhooks.group_commit.DEADLINE_SECONDS", PATIENCE)
    monkeypatch.setattr("webhooks.group_commit.store", slow_store)
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda number: send(UPDATE | {"chat_id": number}).status, range(64)))
    assert replies == [200] * 64
    assert sum(sizes) == 64 == len(states())
    # Of the first sixteen, those that came before the first commit began, or those that came after.
    assert max(sizes) >= 8


def test_a_locked_table_is_503_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.group_commit.REFUSE_SECONDS", 0)
    monkeypatch.setattr("webhooks.group_commit.DEADLINE_SECONDS", 0.5)
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("LOCK webhook_inbox IN ACCESS EXCLUSIVE MODE")
        with within(30), ThreadPoolExecutor(1) as pool:
            answer = pool.submit(send, UPDATE).result()
        assert answer.status == 503
    monkeypatch.setattr("webhooks.group_commit.DEADLINE_SECONDS", PATIENCE)
    assert send(UPDATE).status == 200


def test_the_deadline_leaves_time_to_cancel_the_statement() -> None:
    """The answer comes within three seconds, also if PostgreSQL does not react to the cancellation."""
    assert DEADLINE_SECONDS + 2 * CANCEL_SECONDS < 3


def test_waiting_for_a_commit_counts_against_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked table costs the first request its deadline; the next ones must not begin a whole one after it."""
    monkeypatch.setattr("webhooks.group_commit.DEADLINE_SECONDS", PATIENCE)
    monkeypatch.setattr("webhooks.group_commit.REFUSE_SECONDS", 0)  # for the tests that follow
    deadlines: list[float] = []
    all_wait_at: list[float] = []

    async def cancel(conn: Any, arrivals: Any) -> None:
        deadlines.append(conn.deadline)
        if len(deadlines) == 1:
            await loops.until(lambda: queued() == 3)
            all_wait_at.append(time.monotonic())
        raise psycopg.errors.QueryCanceled

    monkeypatch.setattr("webhooks.group_commit.store", cancel)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(send, UPDATE)
        seconds_until(lambda: deadlines)
        others = [pool.submit(send, UPDATE | {"chat_id": number}) for number in range(3)]
    assert [answer.result().status for answer in (first, *others)] == [503] * 4
    assert len(deadlines) == 2
    assert max(deadlines) < all_wait_at[0] + PATIENCE


def test_a_full_queue_is_503_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.group_commit.LARGEST_QUEUE", 0)
    assert send(UPDATE).status == 503


def test_a_lost_connection_is_replaced() -> None:
    assert send(UPDATE).status == 200
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO webhook%'")
    assert send(UPDATE | {"chat_id": 6}).status == 200
    assert len(states()) == 2
