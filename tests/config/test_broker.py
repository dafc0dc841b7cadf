"""Messages that cannot be read are rejected, counted and logged without their content; the next ones are received."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from kombu import Connection
from kombu.transport import redis as transport
from prometheus_client import REGISTRY
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import TimeoutError as ConnectionTimeout

from config import broker
from config.celery import app
from tests.waiting import PATIENCE

SECRET = "Секретова-79165550001"
GOOD = "monitoring.tasks.deliver_alerts"
_PROPERTIES = {
    "delivery_tag": "t",
    "delivery_info": {"exchange": "", "routing_key": "celery"},
    "body_encoding": "base64",
}
_ENVELOPE = {
    "body": "W1tdLCB7fSwge31d",
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {"task": GOOD, "id": "1", "lang": "py", "argsrepr": SECRET},
    "properties": _PROPERTIES,
}
UNREADABLE = {
    "no JSON": SECRET.encode(),
    "no UTF-8": b"\xff\xfe",
    "nothing": b"",
    "a list": json.dumps([SECRET]).encode(),
    "null": b"null",
    "a number": b"1e999",
    "deep": b"[" * 100_000,
    "no properties": json.dumps({"body": SECRET}).encode(),
    "no base64": json.dumps(_ENVELOPE | {"body": f"{SECRET}!"}).encode(),
    "a wrong encoding": json.dumps(_ENVELOPE | {"properties": _PROPERTIES | {"body_encoding": "x"}}).encode(),
    "no tag": json.dumps(_ENVELOPE | {"properties": {"body_encoding": "base64"}}).encode(),
}
# Kombu accepts these, and Celery raises these errors for them.
INCOMPLETE: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "no id": ({"headers": {"task": GOOD}}, KeyError),
    "no arguments": ({"headers": {}, "body": "W10="}, ValueError),
    "a number as body": ({"headers": {}, "body": "NQ=="}, TypeError),
}


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """Return a client of the broker, which is empty; its connections are those of the worker."""
    monkeypatch.setattr(transport.Transport, "Channel", transport.Transport.Channel)
    broker.install()
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        client: Redis = channel.client
        client.flushdb()
        yield client
        client.flushdb()


def rejected() -> float:
    metric = "celery_messages_rejected_total"
    return sum(REGISTRY.get_sample_value(metric, {"reason": reason}) or 0 for reason in ("unreadable", "damaged_queue"))


def refuse_to_respond(*_: Any, **__: Any) -> None:
    raise ConnectionTimeout


def receive(connection: Connection) -> str:
    with closing(connection.SimpleQueue("celery")) as queue:
        message = queue.get(timeout=PATIENCE)
        message.ack()
        return str(message.headers["task"])


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_next_message_is_received(redis: Redis, name: str, caplog: pytest.LogCaptureFixture) -> None:
    count = rejected()
    app.send_task(GOOD)
    redis.rpush("celery", UNREADABLE[name])
    with app.connection_for_read() as connection:
        assert receive(connection) == GOOD
    assert rejected() == count + 1
    assert redis.llen("celery") == 0
    [record] = [record for record in caplog.records if record.name == "config.broker"]
    assert record.__dict__["event"] == "message_rejected"
    assert "Секретова" not in repr([vars(record) for record in caplog.records])


@pytest.mark.parametrize("name", INCOMPLETE)
def test_messages_that_celery_fails_with_do_not_fill_the_prefetch_window(redis: Redis, name: str) -> None:
    count, received = rejected(), list[str]()
    fields, error = INCOMPLETE[name]

    def receive_or_fail(message: Any) -> None:
        if "id" not in message.headers:
            raise error
        received.append(message.headers["task"])
        message.ack()

    for number in range(4):
        tag = {"properties": _PROPERTIES | {"delivery_tag": f"t{number}"}}
        redis.lpush("celery", json.dumps(_ENVELOPE | fields | tag))
    app.send_task(GOOD)
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        channel.basic_qos(0, 4, False)
        with connection.Consumer([app.amqp.queues["celery"]], on_message=receive_or_fail):
            while not received:
                connection.drain_events(timeout=PATIENCE)
    assert (rejected(), redis.llen("celery"), redis.hlen("unacked")) == (count + 4, 0, 0)


def test_an_acknowledgement_that_fails_does_not_fill_the_prefetch_window(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with one place would never take a message again after a broker that was stopped for a moment."""
    received = list[Any]()
    app.send_task(GOOD)
    app.send_task(GOOD)
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        channel.basic_qos(0, 1, False)
        with connection.Consumer([app.amqp.queues["celery"]], on_message=received.append):
            connection.drain_events(timeout=PATIENCE)
            with monkeypatch.context() as patch:
                patch.setattr(Pipeline, "execute", refuse_to_respond)
                with pytest.raises(ConnectionTimeout):
                    received[0].ack()
            while len(received) < 2:
                connection.drain_events(timeout=PATIENCE)
            received[1].ack()
    assert redis.hlen("unacked") == 1, "the first is delivered again later"


@pytest.mark.parametrize("entry", [SECRET.encode(), b"[1]", b"\xff", b"{}"])
def test_a_damaged_message_that_was_not_acknowledged_is_removed(redis: Redis, entry: bytes) -> None:
    """Kombu restores it an hour later, and would fail with each of its connections from then on."""
    redis.hset("unacked", "tag", entry)
    redis.zadd("unacked_index", {"tag": 1.0})
    count = rejected()
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        channel.qos.restore_visible()
    assert (rejected(), redis.hlen("unacked"), redis.zcard("unacked_index")) == (count + 1, 0, 0)


@pytest.mark.parametrize("key", ["celery", "celery\x06\x169", "unacked", "unacked_index", "_kombu.binding.celery"])
def test_a_key_of_another_type_is_removed(redis: Redis, key: str) -> None:
    redis.delete(key)
    redis.set(key, SECRET)
    count = rejected()
    with app.connection_for_read() as connection:
        assert connection.default_channel
        app.send_task(GOOD, priority=9)
        assert receive(connection) == GOOD
    assert rejected() == count + 1
