"""Leases: for at most a second, a process may use entries in Redis without checking again that they are current."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LEASE_SECONDS = 1.0
# One thread renews the lease early, while the other threads still use the previous one.
_RENEW_AFTER = LEASE_SECONDS / 2

# The run ID of a server, and the token of its entries.
Generation = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class ReadableEntries:
    """The entries that may be read: all entries of ``generation``, except those of the MAX IDs in ``refused``.

    A generation of the cache is identified by the run ID of its Redis server and a token.
    """

    generation: Generation
    refused: frozenset[str]


class Lease:
    """The last result of ``renew``, valid for LEASE_SECONDS: the readable entries, or None if no entry may be read."""

    def __init__(self, renew: Callable[[], ReadableEntries | None]) -> None:
        self._renew = renew
        self._renewing = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Make this process renew the lease before its next use."""
        self._held: tuple[float, ReadableEntries | None] = float("-inf"), None

    def permits(self, user_id: str, generation: Generation | None = None) -> bool:
        """Return whether the person's entry may be read from Redis; renew the lease first if needed.

        If a ``generation`` is given, return False if it is not the readable one. Raise the errors of ``renew``.
        """
        if time.monotonic() - self._held[0] > _RENEW_AFTER and self._renewing.acquire(blocking=False):
            try:
                # The age counts from before the stores are read.
                started = time.monotonic()
                self._held = started, self._renew()
            finally:
                self._renewing.release()
        renewed_at, readable = self._held
        if readable is None or time.monotonic() - renewed_at >= LEASE_SECONDS:
            return False
        return user_id not in readable.refused and generation in (None, readable.generation)


class ServedGeneration:
    """The generation whose entries are served, or None; this is what ``read`` returned at most LEASE_SECONDS ago.

    That is recent enough: a new generation writes its first entry only LEASE_SECONDS after its start, so that its
    entries contain every change that was made under the previous generation.
    """

    def __init__(self, read: Callable[[], Generation | None]) -> None:
        self._read = read
        self._known: tuple[float, Generation | None] = float("-inf"), None

    def allows(self, changed: Generation) -> bool:
        """Return whether no entries but those of this generation are served, so that changing them is enough.

        Raise the errors of ``read``.
        """
        read_at, served = self._known
        if served != changed or time.monotonic() - read_at >= LEASE_SECONDS:
            # The age counts from before PostgreSQL is read.
            read_at = time.monotonic()
            served = self._read()
            self._known = read_at, served
        return served in (None, changed)
