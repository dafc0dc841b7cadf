"""The profile cache in Redis: one JSON string per person at ``profile:user:{user_id}``, rebuilt from PostgreSQL.

Writers, and readers that refill a miss, hold the lock on the profile's row while they write, so that an older version
never overwrites a newer one. An entry is served only if it cannot be older than PostgreSQL. Two mechanisms ensure this:

- The cache generation: PostgreSQL stores the run ID of the Redis server whose entries may be served, and a token that
  the key ``profiles:token`` on this server must contain. After a failover, a restart, or a move to another server and
  back, the run ID or the token differs. Then no entry is served until the refill task has begun a new generation,
  which deletes all entries. A change that reaches any other server counts as failed.
- The lease: each process may serve entries for one second at a time. To renew its lease, it reads the generation, and
  the list of people who are being erased or whose last write or deletion in Redis failed; their entries are not
  served. It also writes a probe, because a server that refuses writes has outdated entries.
"""

from __future__ import annotations

import json
import logging
import random
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import redis
from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db import DatabaseError, Error, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_redis import get_redis_connection
from prometheus_client import Counter

from config.lib import clock, redis_connection
from config.postgres.base import seconds_left, statement_deadline, without_standby
from profiles.breaker import Breaker, BreakerOpen
from profiles.cache.cached_profile import CachedProfile
from profiles.cache.lease import LEASE_SECONDS, Lease, ReadableEntries, ServedGeneration
from profiles.cache.operation_totals import OPERATIONS, OperationTotals
from profiles.merge import ProfileUpdate, TimestampedValue
from profiles.models import CacheGeneration, Profile, Tombstone

operations = Counter("cache_operations", "Operations on the profile cache", ["operation", "status"])
malformed = Counter("cache_malformed_values", "Values in Redis that are not in our format, deleted when read", ["kind"])
totals = OperationTotals(operations)
# Within five seconds of the end of an outage, all processes must use Redis again.
breaker = Breaker("cache", reset=2.0)
logger = logging.getLogger(__name__)

# The previous release also reads this key, but knows no token.
_GENERATION = "profiles:generation"
_TOKEN = "profiles:token"  # noqa: S105 (no secret)
_FILLED_FOR = "profiles:filled_for"
_PROBE = "profiles:probe"
_PROGRESS = "profiles:progress"
# The keys that are not profiles; an earlier release wrote the last one.
_OTHERS = (_GENERATION, _TOKEN, _FILLED_FOR, _PROBE, _PROGRESS, redis_connection.LIMITS, OPERATIONS, "profiles:reports")
_RUN_ID = re.compile(rb"[0-9A-Za-z]{1,64}")
_MOST_BEHIND = 1000


class CacheError(Exception):
    """Raised when Redis fails or does not respond in time."""


class OtherServer(CacheError):
    """Raised when Redis has executed a write, but on a server or in a cache generation whose entries are not served."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What Redis and PostgreSQL returned for one person, with errors kept apart from misses.

    ``record`` is the row in PostgreSQL, which is read only if Redis has no profile that the caller accepts.
    """

    redis: CachedProfile | None = None
    record: Profile | None = None
    redis_error: str = ""
    record_error: DatabaseError | None = None

    @property
    def profile(self) -> CachedProfile | None:
        """Return the profile from Redis or else from PostgreSQL; raise DatabaseError if PostgreSQL failed."""
        if self.redis is not None:
            return self.redis
        if self.record_error is not None:
            raise self.record_error
        return CachedProfile.of(self.record) if self.record else None


def key_of(user_id: str) -> str:
    return f"profile:user:{user_id}"


def read(user_id: str) -> CachedProfile | None:
    """Return the profile in Redis; None if there is none, or if it may be older than the one in PostgreSQL.

    A malformed value is deleted. Raise CacheError if Redis fails, and DatabaseError if PostgreSQL fails to list the
    people whose entries are outdated.
    """
    profile = None
    if _lease.permits(user_id):
        run_id, (token, text) = _execute("get", partial(redis_connection.values, keys=(_TOKEN, key_of(user_id))))
        # Check the lease again, because it may have ended before the response came.
        if text and run_id and _lease.permits(user_id, (run_id, token)):
            profile = CachedProfile.from_json(text, user_id)
            if profile is None:
                malformed.labels("profile").inc()
                logger.warning("malformed value in Redis", extra={"event": "cache_value_malformed", "bytes": len(text)})
                with suppress(CacheError):
                    _execute("delete", lambda client: client.unlink(key_of(user_id)))
    operations.labels("get", "hit" if profile else "miss").inc()
    return profile


def _change(operation: str, commands: list[tuple[Any, ...]]) -> None:
    """Send commands that change entries; raise CacheError if Redis fails or another generation's entries are served."""
    commands = [redis_connection.get(_TOKEN), *commands]
    run_id, (token, *_) = _execute(operation, partial(redis_connection.send, commands=commands))
    # Check after the change: a generation that begins later is refilled with what this transaction commits.
    if not _served.allows((run_id, token)):
        raise OtherServer(f"{operation}: other server")


def _readable_entries() -> ReadableEntries | None:
    """Return which entries this process may read; None if it may read none.

    It may read none before the first generation, or while more than _MOST_BEHIND entries may be outdated.
    """
    _execute("probe", _write_probe)
    behind = Profile.objects.filter(is_cache_behind=True).values_list("user_id")
    # Refuse these entries even after their deletion: a write that was delayed on its way to Redis may restore them.
    erased = Tombstone.objects.exclude(unfinished_id="").values_list("unfinished_id")
    ids = ArraySubquery(behind.union(erased, all=True)[: _MOST_BEHIND + 1])
    with _within_budget():
        row = CacheGeneration.objects.annotate(ids=ids).values_list("run_id", "token", "ids").first()
    if row is None or len(row[2]) > _MOST_BEHIND:
        return None
    return ReadableEntries((row[0].encode(), row[1].encode()), frozenset(row[2]))


def _write_probe(client: redis.Redis) -> Any:
    return client.set(_PROBE, 1, ex=60)


_lease = Lease(_readable_entries)
_served = ServedGeneration(CacheGeneration.objects.identity)


@contextmanager
def _within_budget() -> Iterator[None]:
    """Limit the wait for each store to a third of PROFILE_CACHE_TIMEOUT; an error does not end an outer transaction."""
    savepoint = transaction.atomic() if connection.in_atomic_block else nullcontext()
    seconds = settings.PROFILE_CACHE_TIMEOUT.total_seconds() / 3
    with redis_connection.time_limit(seconds), statement_deadline(seconds), savepoint:
        yield


def find(user_id: str, *, accepts: Callable[[CachedProfile], bool] = bool) -> Stored:
    """Read a person's profile from Redis and, if needed, from PostgreSQL; return errors instead of raising them.

    A miss in Redis is refilled from PostgreSQL. ``accepts`` returns whether the profile in Redis is sufficient; by
    default, every profile is. Both stores share PROFILE_CACHE_TIMEOUT; a store that has failed is not read again.
    """
    seconds = settings.PROFILE_CACHE_TIMEOUT.total_seconds()
    with redis_connection.time_limit(seconds), statement_deadline(seconds):
        return _find(user_id, accepts, seconds)


def _find(user_id: str, accepts: Callable[[CachedProfile], bool], seconds: float) -> Stored:
    cached, redis_error = None, ""
    try:
        # The last third is for the record. In the first two, PostgreSQL may use one third to list the outdated entries.
        with redis_connection.time_limit(seconds * 2 / 3):
            cached = read(user_id)
    except CacheError as error:
        redis_error = str(error)
        logger.warning("profile cache unreachable", extra={"event": "cache_read_failed", "error": redis_error})
    except DatabaseError as error:
        return _unreadable(error)
    if cached is not None and accepts(cached):
        return Stored(cached)
    try:
        with _within_budget():
            record = Profile.find(user_id)
    except DatabaseError as error:
        return _unreadable(error, cached, redis_error)
    if record is not None and cached is None and not redis_error and not CachedProfile.of(record).is_stale:
        _try_to_refill(user_id)
    return Stored(cached, record, redis_error)


def _unreadable(error: DatabaseError, cached: CachedProfile | None = None, redis_error: str = "") -> Stored:
    extra = {"event": "record_read_failed", "error": type(error).__name__}
    logger.warning("profile record unreadable", extra=extra)
    return Stored(cached, None, redis_error, error)


def _try_to_refill(user_id: str) -> None:
    """Write a person's current row to Redis, unless the row is locked: whoever holds the lock also updates Redis.

    Errors are ignored, because the next read tries again. Do nothing if the lookup has too little time left to delete
    the entry again, should the transaction fail.
    """
    left, needed = seconds_left(), settings.PROFILE_CACHE_TIMEOUT / 3 + settings.REDIS_TIMEOUT
    if left is not None and left < needed.total_seconds():
        return
    row = Profile.objects.filter(user_id=user_id)
    # ``inner`` catches the error inside the savepoint, whose rollback would undo what delete_uncommitted() stores.
    outer, inner = suppress(DatabaseError), suppress(CacheError, DatabaseError)
    with outer, without_standby(), _within_budget(), inner, refilling(row, operation="refill"):
        pass


@contextmanager
def refilling(profiles: QuerySet[Profile], *, operation: str = "set") -> Iterator[list[Profile]]:
    """Lock the profiles, except those already locked, write them to Redis, and run the block in the same transaction.

    If the transaction does not commit, the entries are deleted, because they may be outdated: the session, and with it
    the locks, may have ended before the write, so that other processes could change or erase the people.
    """
    written: list[Profile] = []
    try:
        with transaction.atomic():
            written = list(profiles.select_for_update(skip_locked=True, no_key=True))
            write(written, operation=operation)
            yield written
    except BaseException:
        delete_uncommitted([profile.pk for profile in written])
        raise


def delete_uncommitted(user_ids: list[str]) -> None:
    """Delete entries that a transaction wrote but did not commit; if Redis fails, leave them to the refill task.

    The deletion may take up to REDIS_TIMEOUT, even if the caller has no time left; Redis gets half of that time.
    """
    if user_ids:
        seconds = settings.REDIS_TIMEOUT.total_seconds()
        # If PostgreSQL fails too, the task repeats its transaction, and so writes the entries again.
        with (
            suppress(Error),
            redis_connection.time_limit(seconds / 2, is_extra=True),
            statement_deadline(seconds, grace=float("inf")),
        ):
            try:
                delete(*user_ids)
            except OtherServer:
                pass  # The entries are deleted. This server's other entries will be deleted before they are served.
            except CacheError as error:
                _leave_to_refill(user_ids, error)


def write_through(profiles: list[Profile]) -> bool:
    """Write profiles to Redis in the transaction that changed them; return whether it succeeded.

    If Redis fails, leave them to the refill task. Old entries are served for at most LEASE_SECONDS after the commit.
    """
    try:
        write(profiles)
    except CacheError as error:
        _leave_to_refill([profile.pk for profile in profiles], error)
        return False
    return True


def _leave_to_refill(user_ids: list[str], error: CacheError) -> None:
    logger.warning("profiles not written to Redis", extra={"event": "cache_write_failed", "error": str(error)})
    Profile.objects.filter(pk__in=user_ids, is_cache_behind=False).update(is_cache_behind=True)
    _lease.forget()


@transaction.atomic
def store_names(user_id: str, fields: dict[str, str]) -> list[Profile]:
    """Merge names entered by hand; return a list with the changed profile, or an empty list if nothing changed.

    The entry in Redis is deleted at once and, if Redis works, written again after the commit; the row lock prevents a
    refill in between. The names get a later timestamp than all stored ones, even if a clock was ahead.
    """
    now = clock.of_database()
    erased_at = Tombstone.objects.time_of(user_id)
    stored = Profile.objects.select_for_update(no_key=True).filter(user_id=user_id).first()
    earlier = [*filter(None, [erased_at]), *(stored.set_at if stored else [])]
    at = max([now, *(time + timedelta(microseconds=1) for time in earlier)])
    values = {name: TimestampedValue(True, at, value) for name, value in fields.items()}
    changed = Profile.objects.merge([ProfileUpdate(user_id, now, **values)])
    if changed and try_to_delete([user_id]):
        transaction.on_commit(partial(_try_to_refill, user_id))
    elif changed:
        wait_for_leases()
    return changed


def try_to_delete(user_ids: list[str]) -> bool:
    """Delete people's entries from Redis; if Redis fails, leave them to the refill task and return False."""
    try:
        delete(*user_ids)
    except CacheError as error:
        _leave_to_refill(user_ids, error)
        return False
    return True


def wait_for_leases() -> None:
    """After the commit, delay the request until no process still serves the entries that could not be changed."""
    _lease.forget()
    # Register the wait only once, however many people the transaction erases.
    if all(hook[1] is not _wait_out_leases for hook in connection.run_on_commit):
        transaction.on_commit(_wait_out_leases)


def _wait_out_leases() -> None:
    time.sleep(LEASE_SECONDS)


def delete(*user_ids: str) -> None:
    """Delete people's entries; raise CacheError if Redis fails."""
    # Unlike DEL, UNLINK does not hold up other clients while a large value is freed.
    _change("delete", [("UNLINK", *map(key_of, user_ids))])


def write(profiles: Iterable[Profile], *, operation: str = "set") -> None:
    """Write the profiles that are fresh to Redis; raise CacheError if it fails. The caller must hold the row locks."""
    expires_before = timezone.now() - settings.PROFILE_TTL
    ttls = [(profile, profile.last_updated - expires_before) for profile in profiles]
    fresh = [(profile, ttl) for profile, ttl in ttls if ttl > timedelta(seconds=1)]
    if not fresh:
        return

    commands = []
    for profile, ttl in fresh:
        # Vary the TTL by ±10%, so that a refilled cache does not expire all at once.
        px = round(ttl * random.uniform(0.9, 1.1) / timedelta(milliseconds=1))  # noqa: S311 (not a secret)
        commands.append(("SET", key_of(profile.user_id), CachedProfile.of(profile).to_json(), "PX", px))
    _change(operation, commands)
    operations.labels(operation, "success").inc(len(fresh))
    logger.info("profiles written to redis", extra={"event": f"profiles_{operation}", "count": len(fresh)})


def _execute(operation: str, send: Callable[[redis.Redis], Any]) -> Any:
    """Return the result of ``send``; raise CacheError (“set: TimeoutError”) if Redis fails or refuses the command."""
    try:
        with breaker.guard(redis.ConnectionError, redis.TimeoutError):
            client = get_redis_connection("default")
            answer = send(client)
            totals.publish(client)
            return answer
    except (redis.RedisError, BreakerOpen) as failure:
        operations.labels(operation, "error").inc()
        error = redis_connection.error_name(failure)
        if isinstance(failure, redis.ResponseError):
            error = _refused(failure)
        elif isinstance(failure, BreakerOpen):
            error = breaker.last_error or error
        raise CacheError(f"{operation}: {error}") from failure


def _refused(refusal: redis.ResponseError) -> str:
    """Open the breaker; return the error's class name or, for a plain ResponseError, its code, such as MISCONF.

    The breaker must open because a server that refuses writes may still serve entries, which become outdated.
    """
    code = str(refusal).partition(" ")[0]
    error = code if type(refusal) is redis.ResponseError and code.isupper() else type(refusal).__name__
    breaker.open(error)
    return error


def begin_generation() -> None:
    """If the server's entries may be older than PostgreSQL, delete all entries, so that only new ones are served.

    They may be older after a restart, or if the entries of another server have been served in the meantime.
    After the deletion, needs_filling() returns the server's run ID until the refill is complete.
    """
    run_id, markers = _execute("info", partial(redis_connection.values, keys=(_GENERATION, _TOKEN)))
    _count_malformed(*markers)
    known = CacheGeneration.objects.identity()
    if not run_id or (known == (run_id, markers[1]) and markers[0] == run_id):
        return
    # Workers that begin the same generation at once agree on its token; a server that comes back gets a new one.
    token = known[1].decode() if known and known[0] == run_id else secrets.token_hex(16)
    CacheGeneration.objects.update_or_create(pk=1, defaults={"run_id": run_id.decode(), "token": token})
    if known:
        # While other processes may still read and change entries on the other server, changes here must fail.
        time.sleep(LEASE_SECONDS)
    _delete_profiles(run_id)
    _send_to(run_id, ("SET", _GENERATION, run_id), ("SET", _TOKEN, token))
    logger.info("cache generation began", extra={"event": "cache_generation_began"})


def _delete_profiles(run_id: bytes) -> None:
    cursor = None
    while cursor != 0:
        ((position, keys),) = _send_to(run_id, ("SCAN", cursor or 0, "MATCH", key_of("*"), "COUNT", 1000))
        cursor = int(position)
        if keys:
            _send_to(run_id, ("UNLINK", *keys))
    _send_to(run_id, ("UNLINK", _FILLED_FOR))


def _send_to(run_id: bytes, *commands: tuple[Any, ...]) -> list[Any]:
    """Send the commands and return the replies; raise CacheError if the server has another run ID."""
    found, replies = _execute("delete", partial(redis_connection.send, commands=commands))
    if found != run_id:
        raise CacheError("delete: other server")
    return list(replies)


def needs_filling() -> bytes:
    """Return the server's run ID if Redis has lost its content since the last refill, else ``b""``."""
    run_id, (filled_for,) = _execute("info", partial(redis_connection.values, keys=(_FILLED_FOR,)))
    _count_malformed(filled_for)
    return b"" if filled_for == run_id else run_id


def mark_filled(run_id: bytes) -> None:
    """Record that the refill of the server with this run ID is complete."""
    _execute("set", lambda client: client.set(_FILLED_FOR, run_id))


def _count_malformed(*markers: bytes) -> None:
    malformed.labels("marker").inc(sum(bool(marker and not _RUN_ID.fullmatch(marker)) for marker in markers))


def progress() -> dict[str, int]:
    """Return what ``store_progress`` stored; an empty dict if nothing is stored, or if the value is malformed."""
    _, (text,) = _execute("get", partial(redis_connection.values, keys=(_PROGRESS,)))
    if not text:
        return {}
    try:
        found = json.loads(text)
        if found and all(type(count) is int and 0 <= count < 2**63 for count in found.values()):
            return dict(found)
    except (ValueError, AttributeError, RecursionError):
        pass
    malformed.labels("marker").inc()
    return {}


def store_progress(counters: dict[str, int]) -> None:
    """Store counters from PostgreSQL that only increase, so that profiles.restores notices a restore from a backup."""
    if counters != progress():
        _execute("set", lambda client: client.set(_PROGRESS, json.dumps(counters)))


def invalidate() -> None:
    """End the generation: no entry is served until the refill task has deleted and written all of them again.

    What ``store_progress`` stored is deleted too.
    """
    _execute("delete", lambda client: client.unlink(_PROGRESS, _GENERATION, _TOKEN, _FILLED_FOR))


def operation_totals() -> dict[tuple[str, ...], int]:
    """Return the number of cache operations of all hosts, by operation and status; raise CacheError if Redis fails."""
    return dict(_execute("get", totals.read))


def health() -> dict[str, Any]:
    """Return the state of Redis, with the error if it fails or refuses writes. Sizes are in bytes, latency is in ms.

    A server that refuses writes counts as not connected, because none of its entries may be served.
    """

    def send(client: redis.Redis) -> Any:
        pipeline = client.pipeline(transaction=False)
        pipeline.info("everything")
        pipeline.exists(*_OTHERS)
        return pipeline.execute()

    started = time.perf_counter()
    took, is_usable = None, False
    info: dict[str, Any] = {}
    cached_profiles, last_error = None, breaker.last_error
    try:
        info, other_keys = _execute("info", send)
        took = time.perf_counter() - started
        database = get_redis_connection("default").connection_pool.connection_kwargs.get("db", 0)
        cached_profiles = info.get(f"db{database}", {}).get("keys", 0) - other_keys
        _execute("probe", _write_probe)
        is_usable = True
    except CacheError as error:
        last_error = str(error)
    return {
        "redis_connected": is_usable,
        "last_error": last_error,
        "used_memory_bytes": info.get("used_memory"),
        "maxmemory_bytes": info.get("maxmemory"),
        "maxmemory_policy": info.get("maxmemory_policy"),
        "evicted_keys": info.get("evicted_keys"),
        "cached_profiles": cached_profiles,
        "latency_ms": round((took or time.perf_counter() - started) * 1000, 3),
        "breaker": breaker.state,
    }
