"""A short-lived permission to read entries from Redis, which each process renews for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LEASE_SECONDS = 1.0
# One thread renews the lease while the others still use it.
_RENEW_AFTER = LEASE_SECONDS / 2


class Lease:
    """Hold the result of ``renew`` for LEASE_SECONDS: the IDs that must not be read from Redis; None means all IDs."""

    def __init__(self, renew: Callable[[], frozenset[str] | None]) -> None:
        self._renew = renew
        self._renewing = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Make this process renew the lease before its next use."""
        self._held: tuple[float, frozenset[str] | None] = float("-inf"), None

    def permits(self, user_id: str) -> bool:
        """Renew the lease if needed; return whether the ID's entry may be read from Redis; raise as ``renew`` does."""
        if time.monotonic() - self._held[0] > _RENEW_AFTER and self._renewing.acquire(blocking=False):
            try:
                # The age counts from before the stores are read.
                started = time.monotonic()
                self._held = started, self._renew()
            finally:
                self._renewing.release()
        renewed_at, refused = self._held
        return time.monotonic() - renewed_at < LEASE_SECONDS and refused is not None and user_id not in refused
