"""Rate limits counted in the process: a limit that needs Redis would fail with it, or cost every request a trip."""

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

_MOST_CALLERS = 10_000
_BURST_SECONDS = 10


class TokenBuckets:
    """One bucket a caller, refilled at ``rate`` a second up to ``burst``; the longest unseen are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, rate: float, burst: float) -> float:
        """Take one token and return 0.0, or return the seconds until there is one."""
        now = time.monotonic()
        with self._lock:
            tokens, seen_at = self._buckets.pop(caller, (burst, now))
            tokens = min(burst, tokens + (now - seen_at) * rate)
            wait = 0.0 if tokens >= 1 else (1 - tokens) / rate
            self._buckets[caller] = (tokens if wait else tokens - 1, now)
            if len(self._buckets) > _MOST_CALLERS:
                del self._buckets[next(iter(self._buckets))]
        return wait


class UserRate(BaseThrottle):
    """API_RATE_LIMIT requests a second of one user, ten seconds' worth at once."""

    buckets = TokenBuckets()
    left = 0.0

    def allow_request(self, request: Request, view: APIView) -> bool:
        if not settings.API_RATE_LIMIT or not request.user or not request.user.pk:
            return True
        rate = settings.API_RATE_LIMIT
        self.left = self.buckets.take(str(request.user.pk), rate, rate * _BURST_SECONDS)
        return not self.left

    def wait(self) -> float:
        return math.ceil(self.left)


class LogInRate(BaseThrottle):
    """Thirty log-ins a minute from one address; wrong passwords are counted apart, by axes, in PostgreSQL."""

    buckets = TokenBuckets()
    left = 0.0

    def allow_request(self, request: Request, view: APIView) -> bool:
        self.left = self.take(self.get_ident(request))
        return not self.left

    @classmethod
    def take(cls, address: str) -> float:
        return cls.buckets.take(address, rate=0.5, burst=30)

    def wait(self) -> float:
        return math.ceil(self.left)


def as_log_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Count the posts to a view of Django's with the log-ins of the API."""

    @wraps(view)
    def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        wait = LogInRate.take(request.META["REMOTE_ADDR"]) if request.method == "POST" else 0.0
        if wait:
            return too_many_log_ins(wait)
        return view(request, *args, **kwargs)

    return limited
