"""Rate limits, counted in each process: counting in Redis would cost a round trip and fail whenever Redis fails."""

from __future__ import annotations

import math
import threading
import time
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.conf import settings
from rest_framework.throttling import BaseThrottle

from config.lib.error_pages import too_many_log_ins

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from rest_framework.request import Request
    from rest_framework.views import APIView

_MAX_CALLERS = 10_000
_BURST_SECONDS = 10


class TokenBuckets:
    """A token bucket for each of the 10,000 most recently seen callers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, rate: float, burst: float) -> float:
        """Take a token and return 0.0, or return the seconds until one is available; ``rate`` is tokens per second."""
        now = time.monotonic()
        with self._lock:
            tokens, seen_at = self._buckets.pop(caller, (burst, now))
            tokens = min(burst, tokens + (now - seen_at) * rate)
            wait = 0.0 if tokens >= 1 else (1 - tokens) / rate
            self._buckets[caller] = (tokens if wait else tokens - 1, now)
            if len(self._buckets) > _MAX_CALLERS:
                del self._buckets[next(iter(self._buckets))]
        return wait


class _BucketThrottle(BaseThrottle):
    seconds_left = 0.0

    def wait(self) -> float:
        return math.ceil(self.seconds_left)


class UserRate(_BucketThrottle):
    """Limit a user to API_RATE_LIMIT requests per second, with bursts of up to ten seconds' worth."""

    buckets = TokenBuckets()

    def allow_request(self, request: Request, view: APIView) -> bool:
        rate = settings.API_RATE_LIMIT
        if rate and request.user and request.user.pk:
            # The name of a key's user contains the key's name: each key has a bucket of its own.
            self.seconds_left = self.buckets.take(request.user.get_username(), rate, rate * _BURST_SECONDS)
        return not self.seconds_left


class LogInRate(_BucketThrottle):
    """Limit an address to thirty log-ins per minute; axes counts wrong passwords separately, in PostgreSQL."""

    buckets = TokenBuckets()

    def allow_request(self, request: Request, view: APIView) -> bool:
        self.seconds_left = self.take(self.get_ident(request))
        return not self.seconds_left

    @classmethod
    def take(cls, address: str) -> float:
        return cls.buckets.take(address, rate=0.5, burst=30)


def lockout_name(request: HttpRequest, credentials: dict[str, Any] | None) -> str | None:
    """Return the user name under which axes counts failures, cut to its column: no user has such a long name."""
    name = (credentials or request.POST).get("username")
    return None if name is None else str(name)[:255]


def as_log_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Apply the rate limit for API log-ins to the POST requests of a Django view; both share one count."""

    @wraps(view)
    def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        wait = LogInRate.take(request.META["REMOTE_ADDR"]) if request.method == "POST" else 0.0
        return too_many_log_ins(wait) if wait else view(request, *args, **kwargs)

    return limited
