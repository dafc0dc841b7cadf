"""Decide which stage applies to a person, from the switches and settings, the person's bucket and university rules."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from prometheus_client import Counter

from profiles.rollout.phases import EMERGENCY_STOP, PHASES

BUCKETS = 10_000
MEMO_SECONDS = 1.0
# The phase that collects profiles; before it, university rules have no effect.
COLLECTING = 2
_VARIABLES = {"employee": "EMPLOYEE_SERVICE_PROFILE_ENABLED", "chat": "CHAT_SERVICE_PROFILE_ENABLED"}

# One statement reads one snapshot, so no decision mixes two revisions. The heartbeat runs it on its own connection.
STATE_QUERY = """
SELECT coalesce((SELECT revision FROM rollout_rollout WHERE id = 1), 0),
       (SELECT json_agg(json_build_array(name, percent, everyone, salt)) FROM rollout_flag)::text,
       (SELECT json_agg(json_build_array(name, active)) FROM waffle_switch)::text,
       (SELECT json_agg(json_build_array(university_id, phase, is_allowed)) FROM rollout_scope
        WHERE expires_at IS NULL OR expires_at > now())::text
"""

decisions = Counter("rollout_decisions", "Decisions for employees, by reason and stage", ["reason", "stage"])
# Finding the counter of two labels takes a quarter of the time of a decision.
_counter = functools.cache(decisions.labels)


class Reason(TextChoices):
    KILLED = "KILLED", _("the emergency stop is on")
    HARD_OFF = "HARD_OFF", _("an environment variable turns the cache off")
    SWITCH_OFF = "SWITCH_OFF", _("the cache is switched off")
    SERVICE_OFF = "SERVICE_OFF", _("the service is switched off")
    DENIED = "DENIED", _("a rule excludes the university from the phase")
    ALLOWED = "ALLOWED", _("a rule admits the university to the phase")
    SPLIT = "SPLIT", _("the phase's percentage includes this phone")
    DEFAULT = "DEFAULT", _("no phase includes this phone yet")


class Decision(NamedTuple):
    """The stage (the last phase that includes the person, or 0), the reason, and the revision of the rollout."""

    stage: int
    reason: Reason
    revision: int = 0


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The flags, switches and university rules as read from PostgreSQL at ``read_at`` (monotonic seconds).

    ``percents``, ``phases`` and ``configured`` are in hundredths of a percent. ``phases`` has the shares of phases 1 to
    4 with the overrides applied; ``configured`` has their shares without the overrides. ``allowed`` maps a university's
    ID to the last phase to which a rule admits it, ``denied`` to the first phase from which a rule excludes it.
    """

    revision: int = 0
    percents: dict[str, int] = field(default_factory=dict)
    salts: dict[str, str] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    phases: tuple[int, ...] = (0, 0, 0, 0)
    configured: tuple[int, ...] = (0, 0, 0, 0)
    allowed: dict[int, int] = field(default_factory=dict)
    denied: dict[int, int] = field(default_factory=dict)
    read_at: float = float("-inf")

    @classmethod
    def of(cls, row: Sequence[Any]) -> RolloutState:
        revision, flags, switches, rules = row[0], *(json.loads(text or "[]") for text in row[1:])
        everyone = {name: is_on for name, _, is_on, _ in flags if is_on is not None}
        percents = {name: round(percent * 100) for name, percent, _, _ in flags}
        configured = tuple(accumulate((percents.get(name, 0) for name in PHASES), min))
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
            # An “on” override also applies to all earlier phases, an “off” override to all later ones; “off” wins.
            is_on = any(everyone.get(later) for later in PHASES[number:])
            limit = min(limit, BUCKETS if is_on and everyone.get(name, True) else percents.get(name, 0))
            phases.append(limit)
        return cls(
            revision=revision,
            percents=percents | dict(zip(PHASES, phases, strict=True)),
            salts={name: salt for name, _, _, salt in flags},
            switches=dict(switches),
            phases=tuple(phases),
            configured=configured,
            allowed=allowed,
            denied=denied,
            read_at=time.monotonic(),
        )

    def is_on(self, switch: str) -> bool:
        return self.switches.get(switch, False)

    def admits(self, flag: str, key: str | None) -> bool:
        """Return whether the flag is on for the key's bucket or, without a key, whether it is at 100%."""
        percent = self.percents.get(flag, 0)
        if percent in (0, BUCKETS) or key is None:
            return percent == BUCKETS
        return bucket(self.salts[flag], key) < percent

    def stage_of(self, phone: str | None, university_id: int | None) -> tuple[int, Reason]:
        """Return the last phase that includes the person, and the reason, ignoring the emergency stop and switches."""
        # A person without a phone gets the last bucket, which only 100% includes.
        number = bucket(self.salts.get(PHASES[2], ""), phone) if phone else BUCKETS - 1
        stage = 0
        while stage < len(self.phases) and number < self.phases[stage]:
            stage += 1
        reason = Reason.SPLIT if stage else Reason.DEFAULT
        if university_id is None or stage < COLLECTING:
            return stage, reason
        return self.under_rules(stage, reason, university_id)

    def under_rules(self, stage: int, reason: Reason, university_id: int) -> tuple[int, Reason]:
        """Return the stage and the reason with the university's rules applied; ``stage`` must be 2 or more."""
        if self.allowed.get(university_id, 0) > stage:
            stage, reason = self.allowed[university_id], Reason.ALLOWED
        if self.denied.get(university_id, BUCKETS) <= stage:
            stage, reason = self.denied[university_id] - 1, Reason.DENIED
        return stage, reason


def bucket(salt: str, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"v1:{salt}:{key}".encode()).digest()[:4]) % BUCKETS


class _Memo:
    """The state that this process last read. One thread refreshes it while the other threads use it."""

    def __init__(self) -> None:
        self._state = RolloutState()
        self._reading = threading.Lock()
        self._changing: set[int] = set()

    def get(self) -> RolloutState:
        """Return the state, at most about a second old or, while PostgreSQL does not respond, as it was last read.

        In a transaction that has changed the settings, read the state on every call. Other threads do not see the
        uncommitted settings.
        """
        if self._has_uncommitted():
            return self._read() or self._state
        state = self._state
        if time.monotonic() - state.read_at < MEMO_SECONDS or not self._reading.acquire(blocking=not state.percents):
            return state
        try:
            self._state = self._read() or self._state
        finally:
            self._reading.release()
        return self._state

    @staticmethod
    def _read() -> RolloutState | None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(STATE_QUERY)
                return RolloutState.of(cursor.fetchone())
        except DatabaseError:
            return None

    def put(self, row: Sequence[Any]) -> RolloutState:
        """Return the state in a row of STATE_QUERY, and store it unless the stored one has a newer revision."""
        state = RolloutState.of(row)
        if state.revision >= self._state.revision:
            self._state = state
        return state

    def forget(self) -> None:
        self._state = RolloutState()
        if not self._has_uncommitted():
            self._changing.discard(threading.get_ident())

    def forget_changed(self) -> None:
        """Discard the stored state: for this transaction at once, for other threads when the transaction commits."""
        self._changing.add(threading.get_ident())
        self._state = RolloutState()
        transaction.on_commit(self.forget)

    def _has_uncommitted(self) -> bool:
        """Return whether this thread's transaction has changed the settings and is still open."""
        is_changing = threading.get_ident() in self._changing
        return is_changing and any(hook[1] == self.forget for hook in connection.run_on_commit)


_memo = _Memo()
current_state, remember_state = _memo.get, _memo.put
forget_state, forget_changed_state = _memo.forget, _memo.forget_changed


def decide(phone: str | None, university_id: int | None = None) -> Decision:
    """Return the decision for the employee with this canonical phone; call this once per request."""
    state = current_state()
    off = obstacle(state, "employee")
    stage, reason = (0, off) if off else state.stage_of(phone, university_id)
    _counter(reason, stage).inc()
    return Decision(stage, reason, state.revision)


def obstacle(state: RolloutState, service: str) -> Reason | None:
    """Return why a service may not use the cache, whatever the percentages and rules; None if it may."""
    variable = _VARIABLES.get(service, "PROFILE_CACHE_ENABLED")
    if not settings.PROFILE_CACHE_ENABLED or not getattr(settings, variable):
        return Reason.HARD_OFF
    if state.is_on(EMERGENCY_STOP):
        return Reason.KILLED
    if not state.is_on("profile_cache"):
        return Reason.SWITCH_OFF
    return None if state.is_on(f"service_{service}") else Reason.SERVICE_OFF


def is_service_on(service: str) -> bool:
    """Return whether a service may get profiles; the service sends its name, such as ``chat`` or ``chat-service``."""
    parts = service.strip().lower().replace("-", "_").split("_")
    return obstacle(current_state(), "_".join(part for part in parts if part != "service")) is None


def is_collecting(state: RolloutState | None = None) -> bool:
    """Return whether profiles are stored from updates.

    This is on or off for all updates: they contain no phone, so no percentage of the employees can be selected.
    """
    if not settings.PROFILE_CACHE_ENABLED:
        return False
    state = state or current_state()
    return not state.is_on(EMERGENCY_STOP) and state.admits("phase2_collection", None)


def is_processing(state: RolloutState | None = None) -> bool:
    """Return whether updates in the inbox are processed; if they are not, new updates are stored and wait.

    The emergency stop is checked as well as the switch, which is still on if the stop could set only its latch.
    """
    state = state or current_state()
    return settings.WEBHOOK_ENABLED and state.is_on("webhook_processing") and not state.is_on(EMERGENCY_STOP)


def is_monitored() -> bool:
    """Return whether monitoring is on; while it is off, there are no reports and the gates are inconclusive."""
    return settings.MONITORING_ENABLED and current_state().is_on("monitoring")
