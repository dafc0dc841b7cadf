"""The operations of all processes and hosts add up in Redis, and none is lost while Redis fails."""

import pytest
import redis as redis_py
from prometheus_client import CollectorRegistry, Counter

from profiles.cache.operation_totals import OPERATIONS, OperationTotals
from tests.servers import FaultyServer


@pytest.fixture(autouse=True)
def _without_this_process(redis: redis_py.Redis) -> None:
    """Delete what this process itself has counted in the tests before."""
    redis.delete(OPERATIONS)


def process() -> tuple[Counter, OperationTotals]:
    counter = Counter("operations", "…", ["operation", "status"], registry=CollectorRegistry())
    return counter, OperationTotals(counter)


def test_it_adds_up_processes(redis: redis_py.Redis) -> None:
    (one, first), (other, second) = process(), process()
    one.labels("get", "hit").inc(3)
    other.labels("get", "hit").inc(4)
    other.labels("set", "error").inc()
    first.publish(redis)
    assert second.read(redis) == {("get", "hit"): 7, ("set", "error"): 1}
    assert first.read(redis) == second.read(redis)


def test_what_redis_does_not_accept_is_added_later(redis: redis_py.Redis, redis_server: FaultyServer) -> None:
    counter, totals = process()
    counter.labels("get", "hit").inc(3)
    redis_server.kill()
    totals.publish(redis, is_due=True)
    redis_server.start()
    counter.labels("get", "hit").inc()
    assert totals.read(redis) == {("get", "hit"): 4}


def test_it_publishes_every_few_seconds(redis: redis_py.Redis) -> None:
    counter, totals = process()
    totals.publish(redis)
    counter.labels("get", "hit").inc()
    totals.publish(redis)
    assert not redis.exists(OPERATIONS)
    totals.publish(redis, is_due=True)
    assert redis.hgetall(OPERATIONS) == {b"get:hit": b"1"}


@pytest.mark.parametrize("damage", ["type", "number"])
def test_a_foreign_value_is_deleted(redis: redis_py.Redis, damage: str) -> None:
    if damage == "type":
        redis.set(OPERATIONS, "x")
    else:
        redis.hset(OPERATIONS, "get:hit", "many")
    _counter, totals = process()
    assert totals.read(redis) == {}
    assert not redis.exists(OPERATIONS)
