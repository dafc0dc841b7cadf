"""Decide the phase of a person: hard-off variable, latch, switches, university rule, then the bucket of the phone."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from prometheus_client import Counter

from profiles.rollout.phases import EMERGENCY_STOP, PHASES

BUCKETS = 10_000
MEMO_SECONDS = 1.0
_VARIABLES = {"employee": "EMPLOYEE_SERVICE_PROFILE_ENABLED", "chat": "CHAT_SERVICE_PROFILE_ENABLED"}

# One statement is one snapshot: no decision mixes two revisions. The heartbeat runs it on a connection of its own.
STATE_QUERY = """
SELECT coalesce((SELECT revision FROM rollout_rollout WHERE id = 1), 0),
       (SELECT json_agg(json_build_array(name, percent, everyone, salt)) FROM rollout_flag)::text,
       (SELECT json_agg(json_build_array(name, active)) FROM waffle_switch)::text,
       (SELECT json_agg(json_build_array(university_id, phase, is_allowed)) FROM rollout_scope
        WHERE expires_at IS NULL OR expires_at > now())::text
"""

decisions = Counter("rollout_decisions", "Decisions for employees, by reason and stage", ["reason", "stage"])


class Reason(TextChoices):
    KILLED = "KILLED", _("the emergency stop is latched")
    HARD_OFF = "HARD_OFF", _("an environment variable turns the cache off")
    SWITCH_OFF = "SWITCH_OFF", _("the cache is switched off")
    SERVICE_OFF = "SERVICE_OFF", _("the service is switched off")
    DENIED = "DENIED", _("a rule excludes the university")
    ALLOWED = "ALLOWED", _("a rule includes the university")
    SPLIT = "SPLIT", _("the percentage includes this phone")
    DEFAULT = "DEFAULT", _("no phase includes this phone yet")


@dataclass(frozen=True, slots=True)
class Decision:
    """The stage, 0 to 4 (0: the direct API alone), the reason for it, and the revision of the flags."""

    stage: int
    reason: Reason
    revision: int = 0


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The flags and switches as PostgreSQL held them at ``read_at`` (monotonic seconds).

    ``phases`` are the effective hundredths of a percent of phases 1 to 4. ``allowed`` is the last phase that a rule
    lets a university into, ``denied`` the first that a rule keeps it out of.
    """

    revision: int = 0
    percents: dict[str, int] = field(default_factory=dict)
    salts: dict[str, str] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    phases: tuple[int, ...] = (0, 0, 0, 0)
    allowed: dict[int, int] = field(default_factory=dict)
    denied: dict[int, int] = field(default_factory=dict)
    read_at: float = float("-inf")

    @classmethod
    def of(cls, row: Sequence[Any]) -> RolloutState:
        revision, flags, switches, rules = row[0], *(json.loads(text or "[]") for text in row[1:])
        everyone = {name: is_on for name, _, is_on, _ in flags if is_on is not None}
        percents = {name: round(percent * 100) for name, percent, _, _ in flags}
        percents |= {name: BUCKETS if is_on else 0 for name, is_on in everyone.items()}
        allowed: dict[int, int] = {}
        denied: dict[int, int] = {}
        for university, phase, is_allowed in rules:
            if is_allowed:
                allowed[university] = max(allowed.get(university, 0), phase)
            else:
                denied[university] = min(denied.get(university, phase), phase)
        phases, limit = [], BUCKETS
        for number, name in enumerate(PHASES):
            # An override “on” extends to all earlier phases; “off” extends to all later ones and wins.
            is_on = any(everyone.get(later) for later in PHASES[number:])
            limit = min(limit, BUCKETS if is_on and everyone.get(name, True) else percents.get(name, 0))
            phases.append(limit)
        return cls(
            revision=revision,
            percents=percents | dict(zip(PHASES, phases, strict=True)),
            salts={name: salt for name, _, _, salt in flags},
            switches=dict(switches),
            phases=tuple(phases),
            allowed=allowed,
            denied=denied,
            read_at=time.monotonic(),
        )

    def is_on(self, switch: str) -> bool:
        return self.switches.get(switch, False)

    def admits(self, flag: str, key: str | None) -> bool:
        """Return whether the flag is on for the key; without a key it is on only at 100%."""
        percent = self.percents.get(flag, 0)
        if percent in (0, BUCKETS) or key is None:
            return percent == BUCKETS
        return bucket(self.salts[flag], key) < percent

    def stage_of(self, phone: str | None, university_id: int | None) -> tuple[int, Reason]:
        """Return the last phase that includes the person, without regard to the latch and the switches."""
        # Without a phone: the last bucket, which only 100% includes.
        number = bucket(self.salts.get(PHASES[2], ""), phone) if phone else BUCKETS - 1
        stage = sum(number < percent for percent in self.phases)
        reason = Reason.SPLIT if stage else Reason.DEFAULT
        if university_id is None or stage < 2:
            # Rules apply only where profiles are collected.
            return stage, reason
        if self.allowed.get(university_id, 0) > stage:
            stage, reason = self.allowed[university_id], Reason.ALLOWED
        if self.denied.get(university_id, BUCKETS) <= stage:
            stage, reason = self.denied[university_id] - 1, Reason.DENIED
        return stage, reason


def bucket(salt: str, key: str) -> int:
    return int(hashlib.sha256(f"v1:{salt}:{key}".encode()).hexdigest()[:8], 16) % BUCKETS


class _Memo:
    """The state that this process read last; one thread reads it again while the others use it."""

    def __init__(self) -> None:
        self._state = RolloutState()
        self._reading = threading.Lock()

    def get(self) -> RolloutState:
        """Return flags and switches, at most a second old, or the last known ones while PostgreSQL does not answer."""
        state = self._state
        if time.monotonic() - state.read_at < MEMO_SECONDS or not self._reading.acquire(blocking=not state.percents):
            return state
        try:
            with connection.cursor() as cursor:
                cursor.execute(STATE_QUERY)
                self._state = RolloutState.of(cursor.fetchone())
        except DatabaseError:
            return self._state
        finally:
            self._reading.release()
        return self._state

    def put(self, row: Sequence[Any]) -> RolloutState:
        """Store and return the state in a row of STATE_QUERY, unless a newer one is known."""
        state = RolloutState.of(row)
        if state.revision >= self._state.revision:
            self._state = state
        return state

    def forget(self) -> None:
        self._state = RolloutState()


_memo = _Memo()
current_state, remember_state, forget_state = _memo.get, _memo.put, _memo.forget


def decide(phone: str | None, university_id: int | None = None) -> Decision:
    """Return the stage for the employee with this canonical phone; decide once a request, at its outermost point."""
    state = current_state()
    off = obstacle(state, "employee")
    stage, reason = (0, off) if off else state.stage_of(phone, university_id)
    decisions.labels(reason, stage).inc()
    return Decision(stage, reason, state.revision)


def obstacle(state: RolloutState, service: str) -> Reason | None:
    """Return what turns the cache off for a service whatever the percentages; None when nothing does."""
    variable = _VARIABLES.get(service, "PROFILE_CACHE_ENABLED")
    if not settings.PROFILE_CACHE_ENABLED or not getattr(settings, variable):
        return Reason.HARD_OFF
    if state.is_on(EMERGENCY_STOP):
        return Reason.KILLED
    if not state.is_on("profile_cache"):
        return Reason.SWITCH_OFF
    return None if state.is_on(f"service_{service}") else Reason.SERVICE_OFF


def is_service_on(service: str) -> bool:
    """Return whether an outside service gets profiles, by the name that it sends: ``chat``, ``chat-service``."""
    parts = service.strip().lower().replace("-", "_").split("_")
    return obstacle(current_state(), "_".join(part for part in parts if part != "service")) is None


def is_collecting() -> bool:
    """Return whether updates become profiles; updates have no phone, so phase 2 is all or nothing."""
    if not settings.PROFILE_CACHE_ENABLED:
        return False
    state = current_state()
    return not state.is_on(EMERGENCY_STOP) and state.admits("phase2_collection", None)


def is_processing() -> bool:
    """Return whether the inbox is processed; otherwise updates are stored and wait."""
    return settings.WEBHOOK_ENABLED and current_state().is_on("webhook_processing")


def is_monitored() -> bool:
    """Return whether reports are on; otherwise nothing that depends on them has data."""
    return settings.MONITORING_ENABLED and current_state().is_on("monitoring")
