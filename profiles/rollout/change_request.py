"""A request to change the rollout, in the same form for the admin, the commands, the API and code."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from typing import Any, Self

from config.lib.messages import Message, Text
from profiles.rollout import rules
from profiles.rollout.models import Action, Flag, UniversityRule
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SHADOW, SWITCHES
from profiles.rollout.rules import InvalidValue

_WITH_PHASE = (Action.SET, Action.ADVANCE, Action.ROLL_BACK, Action.PLAN)
_WITH_PERCENT = (Action.SET, Action.FLAG)


class Source(Enum):
    ADMIN = auto()
    FLAG_FORM = auto()
    COMMAND = auto()
    API = auto()
    CODE = auto()
    SCHEDULE = auto()
    CONTROLLER = auto()


@dataclass(frozen=True, slots=True)
class Approver:
    """The second person, who approves a change: the name for the audit row, the account's ID and login, the reason."""

    name: str
    account: int
    login: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRequest:
    """A change, with its author, reason and conditions; ``of`` creates a request from raw input.

    ``is_on`` is the new state of a switch; for a university rule, False means that the rule is removed. ``facts`` are
    stored in the audit row of an action that changes no settings. ``evidence`` contains the gate results.
    ``universities`` are the IDs to which the author is limited; None means all universities. ``steps`` are the
    percentages and times of a plan, ``hours`` are the hours from which and until which its steps may run, and ``plan``
    is the ID of the planned step to run or cancel. ``account`` is the ID of the author's account or of the API key's
    owner; None in the shell and for code. ``approval`` is the second person's approval.
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
    steps: Sequence[tuple[Decimal, datetime]] = ()
    waits_for_gates: bool = False
    hours: tuple[int, int] | None = None
    plan: int = 0
    rule: UniversityRule = field(default_factory=UniversityRule)
    flag: Flag = field(default_factory=Flag)
    facts: dict[str, Any] = field(default_factory=dict)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    expected_revision: int | None = None
    is_dry_run: bool = False
    is_forced: bool = False
    universities: Collection[int] | None = None
    account: int | None = None
    approval: Approver | None = None

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
        steps: Sequence[tuple[object, datetime]] = (),
        **rest: Any,
    ) -> Self:
        """Return a request created from raw input; raise ChangeRefused if the input is invalid.

        An advance may omit the phase: ``apply`` then uses the next one. A request to turn the emergency stop on becomes
        an ``EMERGENCY`` action.
        """
        switch = rest.get("switch")
        if action == Action.SWITCH and switch not in (*SWITCHES, EMERGENCY_STOP):
            raise InvalidValue(Message("There is no switch “%(name)s”.", {"name": str(switch)[:50]}))
        if switch == EMERGENCY_STOP and rest["is_on"]:
            action = Action.EMERGENCY
        has_phase = action in _WITH_PHASE and (phase or action != Action.ADVANCE)
        return cls(
            action=action,
            source=source,
            # A user name from a shell may contain bytes that are not UTF-8; the column holds 150 characters.
            by=by.encode(errors="replace").decode()[:150],
            phase=rules.phase_name(phase) if has_phase else "",
            percent=rules.percentage(percent) if action in _WITH_PERCENT else Decimal(0),
            steps=[(rules.percentage(share), due_at) for share, due_at in steps],
            reason=rules.reason(reason),
            expected_revision=rules.revision(expected_revision),
            **rest,
        )

    def is_by(self, person: Approver) -> bool:
        """Return whether the person is the author: both have the same account or, as in the shell, the same name."""
        return self.account == person.account or self.by in (person.name, person.login)

    @property
    def is_of_rollout(self) -> bool:
        """Return whether the change increments the revision and so cancels planned steps.

        Planning or cancelling a step, and changing a flag of another app, do not increment it.
        """
        if self.flag.name:
            return self.flag.name in (*PHASES, SHADOW)
        return self.action not in (Action.PLAN, Action.CANCEL)
