"""The profile cache in Redis: one JSON string per person at ``profile:user:{user_id}``, rebuilt from PostgreSQL.

Writers hold the lock on the profile's row while they write, so an older version never overwrites a newer one. A reader
that refills a miss writes only if the key is absent.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from django_redis import get_redis_connection
from prometheus_client import Counter

from profiles import names
from profiles.breaker import Breaker, BreakerOpen
from profiles.merge import ProfileUpdate, TimestampedValue
from profiles.models import Profile, ProfileSource
from profiles.name_rule import is_fresh_at

operations = Counter("cache_operations", "Operations on the profile cache", ["operation", "status"])
breaker = Breaker("cache")
logger = logging.getLogger(__name__)

_FILLED_FOR = "profiles:filled_for"
# A key that earlier releases wrote; it must not be counted as a profile.
_REPORTS = "profiles:reports"


class CacheError(Exception):
    """Raised when Redis fails or does not respond in time."""


@dataclass(frozen=True, slots=True)
class CachedProfile:
    """Hold a profile in the form used by Redis and the API: a missing name is ``""``, and ``last_updated`` is aware."""

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
    def from_json(cls, text: bytes) -> CachedProfile | None:
        """Return the profile in a Redis value, or None if the value does not have this module's format."""
        try:
            fields = json.loads(text)
            return cls(**fields | {"last_updated": datetime.fromisoformat(fields["last_updated"])})
        except (ValueError, KeyError, TypeError):
            return None

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
    """Hold what Redis and PostgreSQL returned for one person; an error is kept apart from a miss.

    ``record`` is the row in PostgreSQL, which is read only if Redis has no profile that the reader accepts.
    """

    redis: CachedProfile | None = None
    record: Profile | None = None
    redis_error: str = ""
    record_error: DatabaseError | None = None

    @property
    def profile(self) -> CachedProfile | None:
        """Return the profile from Redis, else from PostgreSQL; raise DatabaseError if PostgreSQL failed."""
        if self.redis is not None:
            return self.redis
        if self.record_error is not None:
            raise self.record_error
        return CachedProfile.of(self.record) if self.record else None


def key_of(user_id: str) -> str:
    return f"profile:user:{user_id}"


def read(user_id: str) -> CachedProfile | None:
    text = _execute("get", lambda client: client.get(key_of(user_id)))
    profile = CachedProfile.from_json(text) if text else None
    operations.labels("get", "hit" if profile else "miss").inc()
    return profile


def find(user_id: str, *, accepts: Callable[[CachedProfile], bool] = bool) -> Stored:
    """Return what Redis and, if needed, PostgreSQL hold for a person; their errors are returned, not raised.

    A miss in Redis is refilled from PostgreSQL. ``accepts`` decides whether the profile in Redis is sufficient; by
    default, any is. The three waits (two for Redis, one for PostgreSQL) share PROFILE_CACHE_TIMEOUT.
    """
    cached, redis_error = None, ""
    try:
        cached = read(user_id)
    except CacheError as error:
        redis_error = str(error)
        logger.warning("profile cache unreachable", extra={"event": "cache_read_failed", "error": redis_error})
    if cached is not None and accepts(cached):
        return Stored(cached)
    budget_ms = int((settings.PROFILE_CACHE_TIMEOUT / 3).total_seconds() * 1000)
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(max(budget_ms, 1))])
            record = Profile.objects.filter(user_id=user_id).first()
    except DatabaseError as error:
        extra = {"event": "record_read_failed", "error": type(error).__name__}
        logger.warning("profile record unreadable", extra=extra)
        return Stored(cached, None, redis_error, error)
    if record is not None and cached is None and not redis_error:
        # The result does not depend on this write, and the next read tries again.
        with suppress(CacheError):
            write([record], only_absent=True)
    return Stored(cached, record, redis_error)


def write_through(profiles: list[Profile]) -> None:
    """Write profiles to Redis in the transaction that changed them; if Redis fails, leave them to the refill task."""
    try:
        write(profiles)
    except CacheError as error:
        logger.warning("profiles not written to Redis", extra={"event": "cache_write_failed", "error": str(error)})
        Profile.objects.filter(pk__in=[profile.pk for profile in profiles]).update(is_cache_behind=True)


def store_names(user_id: str, fields: dict[str, str]) -> list[Profile]:
    """Merge names entered by hand and write them to Redis; return the changed profile, or an empty list."""
    now = timezone.now()
    values = {name: TimestampedValue(True, now, value) for name, value in fields.items()}
    changed = Profile.objects.merge([ProfileUpdate(user_id, now, **values)])
    write_through(changed)
    return changed


def forget(user_id: str) -> None:
    _execute("delete", lambda client: client.delete(key_of(user_id)))


def write(profiles: Iterable[Profile], *, only_absent: bool = False) -> None:
    """Write the profiles that are fresh to Redis; raise CacheError if it fails.

    The caller must hold the locks on their rows, except with ``only_absent``, which writes only keys that Redis lacks.
    """
    operation = "refill" if only_absent else "set"
    expires_before = timezone.now() - settings.PROFILE_TTL
    ttls = [(profile, profile.last_updated - expires_before) for profile in profiles]
    fresh = [(profile, ttl) for profile, ttl in ttls if ttl > timedelta(0)]
    if not fresh:
        return

    def send(client: redis.Redis) -> Any:
        pipeline = client.pipeline(transaction=False)
        for profile, ttl in fresh:
            # Vary the TTL by ±10%, so that a refilled cache does not expire all at once.
            px = ttl * random.uniform(0.9, 1.1)  # noqa: S311 (not a secret)
            pipeline.set(key_of(profile.user_id), CachedProfile.of(profile).to_json(), px=px, nx=only_absent)
        return pipeline.execute()

    _execute(operation, send)
    operations.labels(operation, "success").inc(len(fresh))
    logger.info("profiles written to redis", extra={"event": f"profiles_{operation}", "count": len(fresh)})


def _execute(operation: str, send: Callable[[redis.Redis], Any]) -> Any:
    try:
        with breaker.guard(redis.ConnectionError, redis.TimeoutError):
            return send(get_redis_connection("default"))
    except (redis.RedisError, BreakerOpen) as error:
        operations.labels(operation, "error").inc()
        raise CacheError(f"{operation}: {type(error).__name__}") from error


def needs_filling() -> bool:
    """Return whether Redis lost its content: the marker of the last refill is missing or names another server run."""
    filled_for, run_id = _execute("info", lambda client: (client.get(_FILLED_FOR), client.info("server")["run_id"]))
    return bool(filled_for != run_id.encode())


def mark_filled() -> None:
    _execute("set", lambda client: client.set(_FILLED_FOR, client.info("server")["run_id"]))


def health() -> dict[str, Any]:
    """Return the state of Redis, with the error if it fails. Sizes are in bytes, latency in milliseconds."""

    def send(client: redis.Redis) -> Any:
        pipeline = client.pipeline(transaction=False)
        pipeline.info("everything")
        pipeline.exists(_FILLED_FOR, _REPORTS)
        return pipeline.execute()

    started = time.perf_counter()
    info: dict[str, Any] = {}
    cached_profiles, last_error = None, breaker.last_error
    try:
        info, other_keys = _execute("info", send)
        database = get_redis_connection("default").connection_pool.connection_kwargs.get("db", 0)
        cached_profiles = info.get(f"db{database}", {}).get("keys", 0) - other_keys
    except CacheError as error:
        last_error = str(error)
    return {
        "redis_connected": bool(info),
        "last_error": last_error,
        "used_memory_bytes": info.get("used_memory"),
        "maxmemory_bytes": info.get("maxmemory"),
        "maxmemory_policy": info.get("maxmemory_policy"),
        "evicted_keys": info.get("evicted_keys"),
        "cached_profiles": cached_profiles,
        "latency_ms": round((time.perf_counter() - started) * 1000, 3),
        "breaker": breaker.state,
    }
