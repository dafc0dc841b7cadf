"""Rate limits, counted in Redis for all processes and hosts together; without Redis, each process counts separately.

Without this fallback, nobody could log in for an emergency stop while Redis is down. Libraries such as ``limits`` have
no such fallback. They also store a Redis key for each caller, and these keys would be counted as cached profiles; here,
all callers share one key.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

from django.conf import settings
from redis import RedisError
from rest_framework.throttling import BaseThrottle

from config.lib import redis_connection
from config.lib.http.error_pages import too_many_log_ins

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from rest_framework.request import Request
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)
# The set has the time at which the bucket of each caller is full again, which determines how many tokens are left.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local interval, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('UNLINK', KEYS[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local full_at = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or now)
-- Longer than an empty bucket takes to fill: the clock was ahead.
if full_at > now + (burst + 1) * interval then full_at = now end
full_at = full_at + interval
local wait = full_at - now - burst * interval
if wait <= 0 then
    redis.call('ZADD', KEYS[1], full_at, ARGV[1])
    redis.call('EXPIRE', KEYS[1], 300)
end
return tostring(wait)
"""
_REDIS_SECONDS = 0.1
# How long each process counts for itself after an error of Redis.
_RETRY_SECONDS = 2.0
_MAX_CALLERS = 10_000
_BURST_SECONDS = 10


@cache
def _take_in_redis() -> Callable[..., bytes]:
    client = redis_connection.client(settings.REDIS_URL, seconds=_REDIS_SECONDS)
    return client.register_script(_TAKE)


class TokenBuckets:
    """A token bucket for each caller.

    With a ``name``, the buckets are stored in Redis and shared by all processes. Without a name, and while Redis fails,
    each process has its own buckets in memory, for its 10,000 most recent callers only.

    The process also remembers the number of tokens that each bucket has in Redis, and starts from this number when
    Redis fails. If every process started with a full bucket instead, callers could exceed the limit many times over.
    """

    def __init__(self, name: str = "") -> None:
        self._name, self._retry_at = name, 0.0
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, rate: float, burst: float) -> float:
        """Take a token and return 0.0, or return the seconds until one is available; ``rate`` is tokens per second."""
        if self._name and time.monotonic() >= self._retry_at:
            try:
                arguments = [f"{self._name}:{caller}", 1 / rate, burst]
                wait = float(_take_in_redis()(keys=[redis_connection.LIMITS], args=arguments))
                with self._lock:
                    self._keep(caller, (wait > 0) - wait * rate)
                return max(wait, 0.0)
            except RedisError as error:
                self._retry_at = time.monotonic() + _RETRY_SECONDS
                extra = {"event": "limits_not_shared", "error": redis_connection.error_name(error)}
                logger.warning("rate limits are counted in this process", extra=extra)
        return self._take_here(caller, rate, burst)

    def _take_here(self, caller: str, rate: float, burst: float) -> float:
        now = time.monotonic()
        with self._lock:
            tokens, seen_at = self._buckets.get(caller, (burst, now))
            tokens = min(burst, tokens + (now - seen_at) * rate)
            wait = 0.0 if tokens >= 1 else (1 - tokens) / rate
            self._keep(caller, tokens if wait else tokens - 1)
        return wait

    def _keep(self, caller: str, tokens: float) -> None:
        """Store the number of the caller's tokens, and make the caller the most recent one."""
        self._buckets.pop(caller, None)
        self._buckets[caller] = (tokens, time.monotonic())
        if len(self._buckets) > _MAX_CALLERS:
            del self._buckets[next(iter(self._buckets))]


class _BucketThrottle(BaseThrottle):
    seconds_left = 0.0

    def wait(self) -> float:
        return math.ceil(self.seconds_left)


class UserRate(_BucketThrottle):
    """Limit a user to API_RATE_LIMIT requests per second, with bursts of up to ten seconds' worth."""

    buckets = TokenBuckets("api")

    def allow_request(self, request: Request, view: APIView) -> bool:
        rate = settings.API_RATE_LIMIT
        if rate and request.user and request.user.pk:
            # For an API key, the user name contains the name of the key, so each key has a bucket of its own.
            self.seconds_left = self.buckets.take(request.user.get_username(), rate, rate * _BURST_SECONDS)
        return not self.seconds_left


class LogInRate(_BucketThrottle):
    """Limit an IP address to 30 log-ins per minute; axes counts wrong passwords separately, in PostgreSQL."""

    buckets = TokenBuckets("log-in")

    def allow_request(self, request: Request, view: APIView) -> bool:
        self.seconds_left = self.take(self.get_ident(request))
        return not self.seconds_left

    @classmethod
    def take(cls, address: str) -> float:
        return cls.buckets.take(address, rate=0.5, burst=30)


def lockout_name(request: HttpRequest, credentials: dict[str, Any] | None) -> str | None:
    """Return the user name of a log-in, or None if the log-in has none.

    The name is cut to the length of the column in which axes counts failures. No user has a longer name.
    """
    name = (credentials or request.POST).get("username")
    return None if name is None else str(name)[:255]


def as_log_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Apply the rate limit for log-ins to the POST requests of a Django view; they count together with API log-ins."""

    @wraps(view)
    def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        wait = LogInRate.take(request.META["REMOTE_ADDR"]) if request.method == "POST" else 0.0
        return too_many_log_ins(wait) if wait else view(request, *args, **kwargs)

    return limited
