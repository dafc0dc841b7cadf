"""Who is admitted to which phase: hard-off variable, latch, switches, university, then the bucket of the phone."""

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

# One statement is one snapshot: no decision mixes two revisions. The heartbeat asks it on a connection of its own.
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
    HARD_OFF = "HARD_OFF", _("a variable of the environment turns the cache off")
    SWITCH_OFF = "SWITCH_OFF", _("the cache is switched off")
    SERVICE_OFF = "SERVICE_OFF", _("the service is switched off")
    DENIED = "DENIED", _("a rule keeps the university out")
    ALLOWED = "ALLOWED", _("a rule lets the university in")
    SPLIT = "SPLIT", _("the percentage admits this phone")
    DEFAULT = "DEFAULT", _("no phase admits this phone yet")


@dataclass(frozen=True, slots=True)
class Decision:
    """Stage 0 to 4 (0: off, the direct API answers) and why, by the flags of this revision."""

    stage: int
    reason: Reason
    revision: int = 0


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The flags and switches as PostgreSQL held them at ``read_at`` (monotonic seconds).

    ``phases`` are the hundredths of a percent in force for phases 1 to 4. ``allowed`` is the deepest phase that a
    university is let into, ``denied`` the shallowest that it is kept out of.
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
        revision, flags, switches, scopes = row[0], *(json.loads(text or "[]") for text in row[1:])
        percents = {name: _hundredths(percent, everyone) for name, percent, everyone, _ in flags}
        everyone = {name: everyone for name, _, everyone, _ in flags if everyone is not None}
        allowed: dict[int, int] = {}
        denied: dict[int, int] = {}
        for university, phase, is_allowed in scopes:
            if is_allowed:
                allowed[university] = max(allowed.get(university, 0), phase)
            else:
                denied[university] = min(denied.get(university, phase), phase)
        phases = _nested([percents.get(name, 0) for name in PHASES], [everyone.get(name) for name in PHASES])
        return cls(
            revision=revision,
            percents=percents | dict(zip(PHASES, phases, strict=True)),
            salts={name: salt for name, _, _, salt in flags},
            switches=dict(switches),
            phases=phases,
            allowed=allowed,
            denied=denied,
            read_at=time.monotonic(),
        )

    def is_on(self, switch: str) -> bool:
        return self.switches.get(switch, False)

    def admits(self, flag: str, key: str | None) -> bool:
        """Tell whether the flag is on for the key; without a key it is on at 100 percent and off below."""
        percent = self.percents.get(flag, 0)
        if percent in (0, BUCKETS) or key is None:
            return percent == BUCKETS
        return bucket(self.salts[flag], key) < percent

    def stage_of(self, phone: str | None, university_id: int | None) -> tuple[int, Reason]:
        """Return the deepest phase that admits the person, whatever the latch and the switches say."""
        # Without a key: the last bucket, which only 100 percent admits.
        number = bucket(self.salts.get(PHASES[2], ""), phone) if phone else BUCKETS - 1
        stage = sum(number < percent for percent in self.phases)
        reason = Reason.SPLIT if stage else Reason.DEFAULT
        if university_id is None or stage < 2:
            # Where nothing is collected nobody is let in by name.
            return stage, reason
        if self.allowed.get(university_id, 0) > stage:
            stage, reason = self.allowed[university_id], Reason.ALLOWED
        if self.denied.get(university_id, BUCKETS) <= stage:
            stage, reason = self.denied[university_id] - 1, Reason.DENIED
        return stage, reason


def _hundredths(percent: float, everyone: bool | None) -> int:
    if everyone is not None:
        return BUCKETS if everyone else 0
    return round(percent * 100)


def _nested(percents: list[int], everyone: list[bool | None]) -> tuple[int, ...]:
    """Carry waffle's override through: yes reaches all phases before, and no, which is stronger, all after."""
    for number in range(len(percents)):
        if everyone[number]:
            percents[: number + 1] = [BUCKETS] * (number + 1)
    for number in range(len(percents)):
        if everyone[number] is False:
            percents[number:] = [0] * (len(percents) - number)
    return tuple(min(percents[: number + 1]) for number in range(len(percents)))


def bucket(salt: str, key: str) -> int:
    return int(hashlib.sha256(f"v1:{salt}:{key}".encode()).hexdigest()[:8], 16) % BUCKETS


class _Memo:
    """The state as this process last read it. One thread reads; the others go on with the last known one."""

    def __init__(self) -> None:
        self._state = RolloutState()
        self._reading = threading.Lock()

    def get(self) -> RolloutState:
        state = self._state
        if time.monotonic() - state.read_at < MEMO_SECONDS or not self._reading.acquire(blocking=not state.percents):
            return state
        try:
            self._state = _read_state()
        except DatabaseError:
            return self._state
        finally:
            self._reading.release()
        return self._state

    def put(self, state: RolloutState) -> None:
        """Keep what the heartbeat has read, unless a request was quicker with something newer."""
        if state.revision >= self._state.revision:
            self._state = state

    def forget(self) -> None:
        self._state = RolloutState()


def _read_state() -> RolloutState:
    with connection.cursor() as cursor:
        cursor.execute(STATE_QUERY)
        return RolloutState.of(cursor.fetchone())


_memo = _Memo()


def current_state() -> RolloutState:
    """Return flags and switches, at most a second old, or the last known ones while PostgreSQL does not answer."""
    return _memo.get()


def forget_state() -> None:
    """Make the next decision read PostgreSQL."""
    _memo.forget()


def remember_state(row: Sequence[Any]) -> RolloutState:
    """Take over what the heartbeat has read by STATE_QUERY."""
    state = RolloutState.of(row)
    _memo.put(state)
    return state


def decide(phone: str | None, university_id: int | None = None) -> Decision:
    """Return the stage for the employee of this canonical phone; ask once a request, at its outermost point."""
    state = current_state()
    forbidden = obstacle(state, "employee")
    stage, reason = (0, forbidden) if forbidden else state.stage_of(phone, university_id)
    decisions.labels(reason, stage).inc()
    return Decision(stage, reason, state.revision)


def obstacle(state: RolloutState, service: str) -> Reason | None:
    """Return what stands above every percentage, in the order of the decision; None when nothing does."""
    if not settings.PROFILE_CACHE_ENABLED or not _is_service_enabled(service):
        return Reason.HARD_OFF
    if state.is_on(EMERGENCY_STOP):
        return Reason.KILLED
    if not state.is_on("profile_cache"):
        return Reason.SWITCH_OFF
    return None if state.is_on(f"service_{service}") else Reason.SERVICE_OFF


def _is_service_enabled(service: str) -> bool:
    if service == "employee":
        return bool(settings.EMPLOYEE_SERVICE_PROFILE_ENABLED)
    return service != "chat" or bool(settings.CHAT_SERVICE_PROFILE_ENABLED)


def serves(service: str) -> bool:
    """Tell whether an outside service, as it names itself (``chat``, ``chat-service``), gets profiles at all."""
    words = service.strip().lower().replace("-", "_").split("_")
    return obstacle(current_state(), "_".join(word for word in words if word != "service")) is None


def is_flag_active(name: str, phone: str | None, university_id: int | None) -> bool:
    """Answer waffle's question for one flag: a phase by the whole decision, any other by its percentage alone."""
    if name in PHASES:
        return decide(phone, university_id).stage > PHASES.index(name)
    return current_state().admits(name, phone)


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
