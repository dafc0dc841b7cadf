"""A request to change the rollout: the same from every surface."""

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

_WITH_PHASE = (Action.SET, Action.ADVANCE, Action.ROLL_BACK, Action.PLAN)
_WITH_PERCENT = (Action.SET, Action.PLAN, Action.FLAG)


class Source(Enum):
    ADMIN = auto()
    FLAG_FORM = auto()
    COMMAND = auto()
    API = auto()
    CODE = auto()
    SCHEDULE = auto()
    CONTROLLER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRequest:
    """A change, with its author, reason and conditions; ``of`` makes one from raw input.

    ``is_on`` belongs to a switch, or to a university rule, which is removed when false. ``facts`` go into the audit
    row of an action that changes no settings; ``evidence`` are the gate results.
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
        """Return the request for raw input; raise ChangeRefused for invalid input.

        An advance without a phase is left to the next phase. Turning the emergency stop on is an emergency.
        """
        switch = rest.get("switch")
        if action == Action.SWITCH and switch not in (*SWITCHES, EMERGENCY_STOP):
            raise ChangeRefused(Message("There is no switch “%(name)s”.", {"name": str(switch)[:50]}))
        if switch == EMERGENCY_STOP and rest["is_on"]:
            action = Action.EMERGENCY
        has_phase = action in _WITH_PHASE and (phase or action != Action.ADVANCE)
        return cls(
            action=action,
            source=source,
            # A shell may pass bytes that are not UTF-8; the column holds 150 characters.
            by=by.encode(errors="replace").decode()[:150],
            phase=rules.phase_name(phase) if has_phase else "",
            percent=rules.percentage(percent) if action in _WITH_PERCENT else Decimal(0),
            reason=rules.reason(reason),
            expected_revision=rules.revision(expected_revision),
            **rest,
        )

    @property
    def is_of_rollout(self) -> bool:
        """Whether the change gets a revision, which voids planned steps; plans and other apps' flags do not."""
        if self.flag.name:
            return self.flag.name in (*PHASES, SHADOW)
        return self.action not in (Action.PLAN, Action.CANCEL)
