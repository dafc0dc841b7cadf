"""The profile cache in Redis: one JSON string a person under ``profile:user:{user_id}``, rebuilt from PostgreSQL.

Only this module knows the keys and their TTL. Writers hold the row lock of the profile while they write, so an older
version never overwrites a newer one; a reader that refills a miss writes only where nothing is.
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
from profiles.models import Profile, ProfileSource
from profiles.name_rule import is_fresh_at

operations = Counter("cache_operations", "Operations on the profile cache", ["operation", "status"])
breaker = Breaker("cache")
logger = logging.getLogger(__name__)

_FILLED_FOR = "profiles:filled_for"
# Written by earlier releases; counted so that it is not taken for a profile.
_REPORTS = "profiles:reports"


class CacheError(Exception):
    """Redis did not answer, in time or at all."""


@dataclass(frozen=True, slots=True)
class CachedProfile:
    """A profile as Redis and the API show it: names are ``""``, never None; ``last_updated`` is aware."""

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
        """Read what Redis holds; None for what we did not write."""
        try:
            fields = json.loads(text)
            return cls(**fields | {"last_updated": datetime.fromisoformat(fields["last_updated"])})
        except (ValueError, KeyError, TypeError):
            return None

    def to_json(self) -> str:
        return json.dumps(self.as_dict(), ensure_ascii=False)

    def as_dict(self) -> dict[str, Any]:
        return {
            "user_id": self.user_id,
            "max_first_name": self.max_first_name,
            "max_last_name": self.max_last_name,
            "user_provided_name": self.user_provided_name,
            "last_updated": moment(self.last_updated) if self.last_updated else None,
            "source": self.source,
        }

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
    """What Redis and the record behind it hold of one person; an error of a store is no miss.

    ``record`` is read only where Redis had nothing that the reader trusts.
    """

    redis: CachedProfile | None = None
    record: Profile | None = None
    redis_error: str = ""
    record_error: DatabaseError | None = None

    @property
    def profile(self) -> CachedProfile | None:
        """Return what Redis, else the record, holds; raise DatabaseError where the record could not be read."""
        if self.redis is not None:
            return self.redis
        if self.record_error is not None:
            raise self.record_error
        return CachedProfile.of(self.record) if self.record else None


def moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def key_of(user_id: str) -> str:
    return f"profile:user:{user_id}"


def read(user_id: str) -> CachedProfile | None:
    """Return what Redis holds of the person, None on a miss; raise CacheError when it does not answer."""
    text = _ask("get", lambda client: client.get(key_of(user_id)))
    profile = CachedProfile.from_json(text) if text else None
    operations.labels("get", "hit" if profile else "miss").inc()
    return profile


def find(user_id: str, *, trusts: Callable[[CachedProfile], bool] = bool) -> Stored:
    """Read Redis, else the record, which refills Redis; errors of either are part of the answer, never raised.

    ``trusts`` returns whether what Redis holds will do; by default it does whenever there is something. The three waits
    (two for Redis, one for PostgreSQL) share PROFILE_CACHE_TIMEOUT.
    """
    cached, redis_error = None, ""
    try:
        cached = read(user_id)
    except CacheError as error:
        redis_error = str(error)
        logger.warning("profile cache unreachable", extra={"event": "cache_read_failed", "error": redis_error})
    if cached is not None and trusts(cached):
        return Stored(cached)
    try:
        record = _recorded(user_id)
    except DatabaseError as error:
        extra = {"event": "record_read_failed", "error": type(error).__name__}
        logger.warning("profile record unreadable", extra=extra)
        return Stored(cached, None, redis_error, error)
    if record is not None and cached is None and not redis_error:
        # Redis is full or went down: the answer does not depend on it, and the refill task tries again.
        with suppress(CacheError):
            refill(record)
    return Stored(cached, record, redis_error)


def _recorded(user_id: str) -> Profile | None:
    budget_ms = int((settings.PROFILE_CACHE_TIMEOUT / 3).total_seconds() * 1000)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(max(budget_ms, 1))])
        return Profile.objects.filter(user_id=user_id).first()


def write(profiles: Iterable[Profile]) -> None:
    """Write profiles whose rows the caller has locked; raise CacheError when Redis does not answer."""
    _set_many("set", profiles, only_absent=False)


def write_through(profiles: list[Profile]) -> None:
    """Write profiles within the transaction that changed them; what Redis refuses is left to the refill task."""
    try:
        write(profiles)
    except CacheError as error:
        logger.warning("profiles not written to Redis", extra={"event": "cache_write_failed", "error": str(error)})
        Profile.objects.filter(pk__in=[profile.pk for profile in profiles]).update(is_cache_behind=True)


def refill(profile: Profile) -> None:
    """Write back a profile that Redis had lost, unless a worker was quicker; raise CacheError."""
    _set_many("refill", [profile], only_absent=True)


def forget(user_id: str) -> None:
    _ask("delete", lambda client: client.delete(key_of(user_id)))


def _set_many(operation: str, profiles: Iterable[Profile], *, only_absent: bool) -> None:
    lasting = [(profile, ttl) for profile in profiles if (ttl := _ttl_left(profile)) > timedelta(0)]
    if not lasting:
        return

    def send(client: redis.Redis) -> Any:
        pipeline = client.pipeline(transaction=False)
        for profile, ttl in lasting:
            pipeline.set(key_of(profile.user_id), CachedProfile.of(profile).to_json(), px=ttl, nx=only_absent)
        return pipeline.execute()

    _ask(operation, send)
    operations.labels(operation, "success").inc(len(lasting))
    logger.info("profiles written to redis", extra={"event": f"profiles_{operation}", "count": len(lasting)})


def _ttl_left(profile: Profile) -> timedelta:
    """What is left of PROFILE_TTL, ± 10 % so that a refilled cache does not expire at one moment."""
    left: timedelta = profile.last_updated + settings.PROFILE_TTL - timezone.now()
    return left * random.uniform(0.9, 1.1)  # noqa: S311 (spreads expiry, hides nothing)


def _ask(operation: str, send: Callable[[redis.Redis], Any]) -> Any:
    try:
        with breaker.guard(redis.ConnectionError, redis.TimeoutError):
            return send(get_redis_connection("default"))
    except (redis.RedisError, BreakerOpen) as error:
        operations.labels(operation, "error").inc()
        raise CacheError(f"{operation}: {type(error).__name__}") from error


def needs_filling() -> bool:
    """Tell whether Redis lost its content: the marker of the last fill is gone or names another server process."""
    filled_for, run_id = _ask("info", lambda client: (client.get(_FILLED_FOR), client.info("server")["run_id"]))
    return bool(filled_for != run_id.encode())


def mark_filled() -> None:
    _ask("set", lambda client: client.set(_FILLED_FOR, client.info("server")["run_id"]))


def _look(client: redis.Redis) -> Any:
    pipeline = client.pipeline(transaction=False)
    pipeline.info("everything")
    pipeline.exists(_FILLED_FOR, _REPORTS)
    return pipeline.execute()


def health() -> dict[str, Any]:
    """Ask Redis how it is; one that does not answer is told, not raised. Sizes in bytes, latency in milliseconds."""
    started = time.perf_counter()
    try:
        info, others = _ask("info", _look)
        last_error = breaker.last_error
        is_connected = True
    except CacheError as error:
        info, others, last_error, is_connected = {}, 0, str(error), False
    return {
        "redis_connected": is_connected,
        "last_error": last_error,
        "used_memory_bytes": info.get("used_memory"),
        "maxmemory_bytes": info.get("maxmemory"),
        "maxmemory_policy": info.get("maxmemory_policy"),
        "evicted_keys": info.get("evicted_keys"),
        "cached_profiles": _keys(info) - others if info else None,
        "latency_ms": round((time.perf_counter() - started) * 1000, 3),
        "breaker": breaker.state,
    }


def _keys(info: dict[str, Any]) -> int:
    database = get_redis_connection("default").connection_pool.connection_kwargs.get("db", 0)
    keys: int = info.get(f"db{database}", {}).get("keys", 0)
    return keys
