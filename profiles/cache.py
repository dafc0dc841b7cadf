"""The profile cache in Redis: one JSON string per person at ``profile:user:{user_id}``, rebuilt from PostgreSQL.

Writers, and readers that refill a miss, hold the lock on the profile's row while they write, so that an older version
never overwrites a newer one. An entry is served only if it cannot be older than PostgreSQL. Two mechanisms ensure this:

- ``profiles:generation`` is the run ID of the Redis server that the entries were written to. After a failover, or a
  restart from a snapshot, the run ID is different, and no entry is served until the refill task has deleted all
  entries.
- Each process holds a lease of one second: a list of the people who are being erased, or whose last write or deletion
  in Redis failed. Renewing it also writes a probe, because a server that refuses writes has outdated entries.
"""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from django_redis import get_redis_connection
from prometheus_client import Counter

from config.lib import clock, redis_connection
from config.postgres.base import statement_deadline
from profiles import names
from profiles.breaker import Breaker, BreakerOpen
from profiles.lease import LEASE_SECONDS, Lease
from profiles.merge import ProfileUpdate, TimestampedValue
from profiles.models import Profile, ProfileSource, Tombstone
from profiles.name_rule import is_fresh_at
from profiles.operation_totals import OPERATIONS, OperationTotals

operations = Counter("cache_operations", "Operations on the profile cache", ["operation", "status"])
malformed = Counter("cache_malformed_values", "Values in Redis that are not in our format, deleted when read", ["kind"])
totals = OperationTotals(operations)
# An outage must be over for everybody within five seconds of its end.
breaker = Breaker("cache", reset=2.0)
logger = logging.getLogger(__name__)

_GENERATION = "profiles:generation"
_FILLED_FOR = "profiles:filled_for"
_PROBE = "profiles:probe"
_PROGRESS = "profiles:progress"
# The keys that are not profiles; an earlier release wrote the last one.
_MARKERS = (_GENERATION, _FILLED_FOR, _PROBE, _PROGRESS, redis_connection.LIMITS, OPERATIONS, "profiles:reports")
# Longer than any value of ours: three names of 100 characters, each of six bytes if escaped, and an ID of 64.
_LONGEST = 4096
_RUN_ID = re.compile(rb"[0-9A-Za-z]{1,64}")
# What stands for a value of another type. It is neither JSON nor a run ID.
_OTHER_TYPE = b"\0"
_FUTURE = timedelta(days=1)
_MOST_BEHIND = 1000


class CacheError(Exception):
    """Raised when Redis fails or does not respond in time."""


@dataclass(frozen=True, slots=True)
class CachedProfile:
    """Hold a profile in the form of Redis and the API: a missing name is ``""``, ``last_updated`` has a time zone."""

    user_id: str
    max_first_name: str
    max_last_name: str
    user_provided_name: str
    last_updated: datetime | None
    source: str

    @classmethod
    def of(cls, profile: Profile) -> CachedProfile:
        return cls(
            user_id=profile.user_id,
            max_first_name=profile.first_name or "",
            max_last_name=profile.last_name or "",
            user_provided_name=profile.user_provided_name or "",
            last_updated=profile.last_updated,
            source=profile.source,
        )

    @classmethod
    def unknown(cls, user_id: str) -> CachedProfile:
        return cls(user_id, "", "", "", None, ProfileSource.DEFAULT)

    @classmethod
    def from_json(cls, text: bytes, user_id: str) -> CachedProfile | None:
        """Return the profile in a Redis value; None if the value is invalid or belongs to another person.

        Invalid values come from other programs, operators or damaged snapshots.
        """
        try:
            fields = json.loads(text.decode())
            profile = cls(**fields | {"last_updated": datetime.fromisoformat(fields["last_updated"])})
            own_name, at = profile.user_provided_name, profile.last_updated
            values = (profile.max_first_name, profile.max_last_name, own_name)
            # Encoding fails for lone surrogates, and the conversion for dates that are out of range in UTC.
            are_names = all(len(name.encode().decode()) <= names.NAME_LENGTH and "\0" not in name for name in values)
            is_past = at is not None and at.tzinfo is not None and at.astimezone(UTC) <= timezone.now() + _FUTURE
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        source = ProfileSource.USER_INPUT if own_name else ProfileSource.WEBHOOK
        is_valid = are_names and is_past and (profile.user_id, profile.source) == (user_id, source)
        return profile if is_valid else None

    def to_json(self) -> str:
        at = self.last_updated
        text = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if at else None
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields | {"last_updated": text}, ensure_ascii=False)

    @property
    def display_name(self) -> str:
        return names.display(self.user_provided_name, self.max_first_name, self.max_last_name)

    @property
    def has_full_name(self) -> bool:
        return bool(self.user_provided_name or (self.max_first_name and self.max_last_name))

    @property
    def is_stale(self) -> bool:
        return not is_fresh_at(timezone.now(), self.last_updated, settings.PROFILE_TTL)


@dataclass(frozen=True, slots=True)
class Stored:
    """Hold what Redis and PostgreSQL returned for one person, with errors kept apart from misses.

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
        run_id, (generation, text) = _execute("get", partial(_values, keys=(_GENERATION, key_of(user_id))))
        # Again: the response may have come after the lease that permitted the request had ended.
        if text and run_id and generation == run_id and _lease.permits(user_id):
            profile = CachedProfile.from_json(text, user_id)
            if profile is None:
                malformed.labels("profile").inc()
                logger.warning("malformed value in Redis", extra={"event": "cache_value_malformed", "bytes": len(text)})
                with suppress(CacheError):
                    forget(user_id)
    operations.labels("get", "hit" if profile else "miss").inc()
    return profile


def _values(client: redis.Redis, keys: Iterable[str]) -> tuple[bytes, list[bytes]]:
    """Return the server's run ID and the values of the keys: at most _LONGEST bytes each, ``b""`` for a missing key.

    The cost does not depend on the size or type of a value.
    """
    pool = client.connection_pool
    # The client's pipeline costs more, and hides the connection.
    connection: Any = pool.get_connection()
    try:
        commands = [("GETRANGE", key, 0, _LONGEST) for key in keys]
        connection.send_packed_command(connection.pack_commands(commands))
        return connection.run_id, [_reply(connection) for _ in commands]
    finally:
        # The pool closes a connection from which not every reply was read.
        pool.release(connection)


def _reply(connection: Any) -> bytes:
    try:
        return bytes(connection.read_response())
    except redis.ResponseError as refusal:
        if str(refusal).startswith("WRONGTYPE"):
            return _OTHER_TYPE
        raise


def _outdated() -> frozenset[str] | None:
    """Return the MAX IDs whose entries in Redis may be outdated; None if there are more than _MOST_BEHIND."""
    _execute("probe", _write_probe)
    behind = Profile.objects.filter(is_cache_behind=True).values_list("user_id")
    # Also after the entry has been deleted: a write that was delayed on its way to Redis may restore it.
    erased = Tombstone.objects.exclude(unfinished_id="").values_list("unfinished_id")
    with _within_budget():
        ids = frozenset(user_id for (user_id,) in behind.union(erased, all=True)[: _MOST_BEHIND + 1])
    return ids if len(ids) <= _MOST_BEHIND else None


def _write_probe(client: redis.Redis) -> Any:
    return client.set(_PROBE, 1, ex=60)


_lease = Lease(_outdated)
forget_lease = _lease.forget


@contextmanager
def _within_budget() -> Iterator[None]:
    """Limit the block's wait for PostgreSQL to a third of PROFILE_CACHE_TIMEOUT; keep an outer transaction usable."""
    savepoint = transaction.atomic() if connection.in_atomic_block else nullcontext()
    with statement_deadline(settings.PROFILE_CACHE_TIMEOUT.total_seconds() / 3), savepoint:
        yield


def find(user_id: str, *, accepts: Callable[[CachedProfile], bool] = bool) -> Stored:
    """Read a person's profile from Redis and, if needed, from PostgreSQL; return errors instead of raising them.

    A miss in Redis is refilled from PostgreSQL. ``accepts`` decides whether the profile in Redis is sufficient; by
    default, every profile is. The reads of Redis and PostgreSQL share PROFILE_CACHE_TIMEOUT; a store that has failed is
    not read again.
    """
    cached, redis_error = None, ""
    try:
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
            record = Profile.objects.filter(user_id=user_id).first()
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
    """Write a person's current row to Redis, unless the row is locked: whoever holds the lock updates Redis too.

    Errors are ignored, because the next read tries again.
    """
    row = Profile.objects.filter(user_id=user_id).select_for_update(skip_locked=True, no_key=True)
    with suppress(CacheError, DatabaseError), _within_budget(), transaction.atomic():
        write(row, operation="refill")


def write_through(profiles: list[Profile]) -> bool:
    """Write profiles to Redis in the transaction that changed them; return whether it succeeded.

    If Redis fails, leave them to the refill task; LEASE_SECONDS after the commit, no process serves the old entries.
    """
    try:
        write(profiles)
    except CacheError as error:
        _leave_to_refill([profile.pk for profile in profiles], error)
        return False
    return True


def _leave_to_refill(user_ids: list[str], error: CacheError) -> None:
    logger.warning("profiles not written to Redis", extra={"event": "cache_write_failed", "error": str(error)})
    Profile.objects.filter(pk__in=user_ids).update(is_cache_behind=True)
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
    if changed and distrust([user_id]):
        transaction.on_commit(partial(_try_to_refill, user_id))
    elif changed:
        wait_for_leases()
    return changed


def distrust(user_ids: list[str]) -> bool:
    """Delete people's entries from Redis; if Redis fails, leave them to the refill task and return False."""
    try:
        forget(*user_ids)
    except CacheError as error:
        _leave_to_refill(user_ids, error)
        return False
    return True


def wait_for_leases() -> None:
    """After the commit, make the request wait until no process serves an entry that Redis failed to change."""
    _lease.forget()
    # Once, however many people the transaction erases.
    if all(hook[1] is not _wait_out_leases for hook in connection.run_on_commit):
        transaction.on_commit(_wait_out_leases)


def _wait_out_leases() -> None:
    time.sleep(LEASE_SECONDS)


def forget(*user_ids: str) -> None:
    # Unlike DEL, UNLINK does not hold up other clients while a large value is freed.
    _execute("delete", lambda client: client.unlink(*map(key_of, user_ids)))


def write(profiles: Iterable[Profile], *, operation: str = "set") -> None:
    """Write the profiles that are fresh to Redis; raise CacheError if it fails. The caller must hold the row locks."""
    expires_before = timezone.now() - settings.PROFILE_TTL
    ttls = [(profile, profile.last_updated - expires_before) for profile in profiles]
    fresh = [(profile, ttl) for profile, ttl in ttls if ttl > timedelta(seconds=1)]
    if not fresh:
        return

    def send(client: redis.Redis) -> Any:
        pipeline = client.pipeline(transaction=False)
        for profile, ttl in fresh:
            # Vary the TTL by ±10%, so that a refilled cache does not expire all at once.
            px = ttl * random.uniform(0.9, 1.1)  # noqa: S311 (not a secret)
            pipeline.set(key_of(profile.user_id), CachedProfile.of(profile).to_json(), px=px)
        return pipeline.execute()

    _execute(operation, send)
    operations.labels(operation, "success").inc(len(fresh))
    logger.info("profiles written to redis", extra={"event": f"profiles_{operation}", "count": len(fresh)})


def _execute(operation: str, send: Callable[[redis.Redis], Any]) -> Any:
    """Return the result of ``send``; raise CacheError (“set: TimeoutError”) if Redis fails or refuses a command."""
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
    """Open the breaker; return the name of the error's class or, for a plain ResponseError, its code, e.g. MISCONF.

    A server that refuses writes may still serve entries, which become outdated.
    """
    code = str(refusal).partition(" ")[0]
    error = code if type(refusal) is redis.ResponseError and code.isupper() else type(refusal).__name__
    breaker.open(error)
    return error


def begin_generation() -> None:
    """If the server was restarted since the entries were written, delete all entries, so that only new ones are served.

    After that, needs_filling() returns the server's run ID until the refill is complete.
    """
    if run_id := _run_unlike(_GENERATION):
        _execute("delete", _delete_profiles)
        _execute("set", lambda client: client.set(_GENERATION, run_id))
        logger.info("cache generation began", extra={"event": "cache_generation_began"})


def _delete_profiles(client: redis.Redis) -> None:
    cursor = None
    while cursor != 0:
        cursor, keys = client.scan(cursor or 0, key_of("*"), 1000)
        if keys:
            client.unlink(*keys)
    client.unlink(_FILLED_FOR)


def needs_filling() -> bytes:
    """Return the server's run ID if Redis has lost its content since the last refill, else ``b""``."""
    return _run_unlike(_FILLED_FOR)


def mark_filled(run_id: bytes) -> None:
    _execute("set", lambda client: client.set(_FILLED_FOR, run_id))


def _run_unlike(marker: str) -> bytes:
    """Return the server's run ID if the marker is missing or has a different run ID, else ``b""``."""
    run_id, (value,) = _execute("info", partial(_values, keys=(marker,)))
    if value and not _RUN_ID.fullmatch(value):
        malformed.labels("marker").inc()
    return b"" if value == run_id else run_id


def progress() -> dict[str, int]:
    """Return the counters that ``remember`` stored; an empty dict if there are none, or their value is malformed."""
    _, (text,) = _execute("get", partial(_values, keys=(_PROGRESS,)))
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


def remember(counters: dict[str, int]) -> None:
    """Store each counter, unless the stored value is higher."""
    known = progress()
    highest = {name: max(count, known.get(name, 0)) for name, count in counters.items()}
    if highest != known:
        _execute("set", lambda client: client.set(_PROGRESS, json.dumps(highest)))


def forget_all() -> None:
    """Delete the counters and the markers, so that the refill task deletes all entries and writes them again."""
    _execute("delete", lambda client: client.unlink(_PROGRESS, _GENERATION, _FILLED_FOR))


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
        pipeline.exists(*_MARKERS)
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
