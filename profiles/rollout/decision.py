"""Who is admitted to which phase: hard-off variable, latch, switches, then the bucket of the phone (rollout.md)."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum

from django.conf import settings
from django.db import DatabaseError
from waffle import get_waffle_flag_model
from waffle.models import Switch

from profiles.rollout.models import EMERGENCY_STOP, PHASES

BUCKETS = 10_000
MEMO_SECONDS = 1.0


class Reason(StrEnum):
    KILLED = "KILLED"
    HARD_OFF = "HARD_OFF"
    SWITCH_OFF = "SWITCH_OFF"
    SERVICE_OFF = "SERVICE_OFF"
    SPLIT = "SPLIT"
    DEFAULT = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Decision:
    """Stage 0 to 4 (0: off, the direct API answers) and why."""

    stage: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The flags and switches as PostgreSQL held them at ``read_at`` (monotonic seconds)."""

    percents: dict[str, int] = field(default_factory=dict)
    salts: dict[str, str] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    read_at: float = float("-inf")

    def is_on(self, switch: str) -> bool:
        return self.switches.get(switch, False)

    def admits(self, flag: str, key: str | None) -> bool:
        """Tell whether the flag is on for the key; without a key it is on at 100 percent and off below."""
        percent = self.percents.get(flag, 0)
        if percent in (0, BUCKETS) or key is None:
            return percent == BUCKETS
        return bucket(self.salts[flag], key) < percent


def bucket(salt: str, key: str) -> int:
    return int(hashlib.sha256(f"v1:{salt}:{key}".encode()).hexdigest()[:8], 16) % BUCKETS


class _Memo:
    """The state as this process last read it. One thread reads; the others go on with the last known one."""

    def __init__(self) -> None:
        self._state = RolloutState()
        self._reading = threading.Lock()

    def get(self) -> RolloutState:
        is_new = time.monotonic() - self._state.read_at < MEMO_SECONDS
        if is_new or not self._reading.acquire(blocking=not self._state.percents):
            return self._state
        try:
            self._state = _read_state()
        except DatabaseError:
            return self._state
        finally:
            self._reading.release()
        return self._state

    def forget(self) -> None:
        self._state = RolloutState()


def _read_state() -> RolloutState:
    flags = get_waffle_flag_model().objects.all()
    return RolloutState(
        percents={flag.name: _hundredths(flag.everyone, float(flag.percent)) for flag in flags},
        salts={flag.name: flag.salt for flag in flags},
        switches=dict(Switch.objects.values_list("name", "active")),
        read_at=time.monotonic(),
    )


def _hundredths(everyone: bool | None, percent: float) -> int:
    if everyone is not None:
        return BUCKETS if everyone else 0
    return round(percent * 100)


_memo = _Memo()


def current_state() -> RolloutState:
    """Return flags and switches, at most a second old, or the last known ones while PostgreSQL does not answer."""
    return _memo.get()


def forget_state() -> None:
    """Make the next decision read PostgreSQL."""
    _memo.forget()


def decide(phone: str | None) -> Decision:
    """Return the stage for the employee of this canonical phone; ask once a request, at its outermost point."""
    if not settings.PROFILE_CACHE_ENABLED or not settings.EMPLOYEE_SERVICE_PROFILE_ENABLED:
        return Decision(0, Reason.HARD_OFF)
    state = current_state()
    if state.is_on(EMERGENCY_STOP):
        return Decision(0, Reason.KILLED)
    if not state.is_on("profile_cache"):
        return Decision(0, Reason.SWITCH_OFF)
    if not state.is_on("service_employee"):
        return Decision(0, Reason.SERVICE_OFF)
    for stage in range(len(PHASES), 0, -1):
        if state.admits(PHASES[stage - 1], phone):
            return Decision(stage, Reason.SPLIT)
    return Decision(0, Reason.DEFAULT)


def is_collecting() -> bool:
    """Tell whether updates are turned into profiles; updates have no phone, so phase 2 is all or nothing."""
    if not settings.PROFILE_CACHE_ENABLED:
        return False
    state = current_state()
    return not state.is_on(EMERGENCY_STOP) and state.admits("phase2_collection", None)


def is_processing() -> bool:
    """Tell whether the inbox is worked on at all; when not, updates are stored and wait."""
    return settings.WEBHOOK_ENABLED and current_state().is_on("webhook_processing")


def is_monitored() -> bool:
    """Tell whether the reports are there; when not, whoever decides by them has no data."""
    return settings.MONITORING_ENABLED and current_state().is_on("monitoring")
