"""What somebody wants of the rollout, the same on every surface."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from typing import Any, Self

from config.lib.messages import Message, Text
from profiles.rollout import rules
from profiles.rollout.models import Action, Flag, UniversityRule
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SHADOW, SWITCHES
from profiles.rollout.rules import ChangeRefused

_BY_LENGTH = 150


class Source(Enum):
    """The surface that a request comes from."""

    ADMIN = auto()
    FLAG_FORM = auto()
    COMMAND = auto()
    API = auto()
    CODE = auto()
    SCHEDULE = auto()
    CONTROLLER = auto()


_WITH_PHASE = (Action.SET, Action.ADVANCE, Action.ROLL_BACK, Action.PLAN)
_WITH_PERCENT = (Action.SET, Action.PLAN, Action.FLAG)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRequest:
    """What is to change, who wants it and why, and on what terms; ``of`` makes one of raw input.

    ``is_on`` is of the switch, and of the university's rule, which is removed otherwise. ``facts`` are what the audit
    row keeps of an action that changes none of the controls. ``evidence`` is what the gates found.
    """

    action: Action
    source: Source
    by: str
    reason: Text
    phase: str = ""
    percent: Decimal = Decimal(0)
    everyone: bool | None = None
    switch: str = ""
    is_on: bool = True
    on_breach: str = ""
    due_at: datetime | None = None
    plan: int = 0
    rule: UniversityRule = field(default_factory=UniversityRule)
    flag: Flag = field(default_factory=Flag)
    facts: dict[str, Any] = field(default_factory=dict)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    expected_revision: int | None = None
    is_dry_run: bool = False
    is_forced: bool = False

    @classmethod
    def of(
        cls,
        action: Action,
        source: Source,
        *,
        by: str,
        reason: Text,
        phase: object = None,
        percent: object = None,
        expected_revision: object = None,
        **rest: Any,
    ) -> Self:
        """Return the request that raw input makes; raise ChangeRefused, in the same words for every surface.

        An advance without a phase is one of the phase whose turn it is. To turn the emergency stop on is an emergency.
        """
        switch = rest.get("switch")
        if action == Action.SWITCH and switch not in (*SWITCHES, EMERGENCY_STOP):
            raise ChangeRefused(Message("There is no switch “%(name)s”", {"name": str(switch)[:50]}))
        if switch == EMERGENCY_STOP and rest["is_on"]:
            action = Action.EMERGENCY
        has_phase = action in _WITH_PHASE and (phase or action != Action.ADVANCE)
        return cls(
            action=action,
            source=source,
            # A shell passes on bytes that are no UTF-8.
            by=by.encode(errors="replace").decode()[:_BY_LENGTH],
            phase=rules.phase_name(phase) if has_phase else "",
            percent=rules.percentage(percent) if action in _WITH_PERCENT else Decimal(0),
            reason=rules.reason(reason),
            expected_revision=rules.revision(expected_revision),
            **rest,
        )

    @property
    def recorded_action(self) -> Action:
        """The action that the audit row names: what code saves and what a plan does have names of their own."""
        if self.source == Source.CODE and self.action in (Action.SET, Action.FLAG):
            return Action.SAVE
        return Action.SCHEDULE if self.source == Source.SCHEDULE else self.action

    @property
    def is_of_rollout(self) -> bool:
        """Whether planned steps are void after it: not after a change of another app's flag, or of a plan."""
        if self.flag.name:
            return self.flag.name in (*PHASES, SHADOW)
        return self.action not in (Action.PLAN, Action.CANCEL)
