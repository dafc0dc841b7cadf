"""What an operator holds in hand, as one change finds it and as it leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from waffle.models import Switch

from config.lib.messages import Message, Text, to_columns
from profiles.rollout import rules
from profiles.rollout.models import HELD_LENGTH, Flag, Plan, Rollout, UniversityRule
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SWITCHES
from profiles.rollout.rules import ChangeRefused


def is_latched() -> bool:
    """Ask the database itself, for work that must not outlast an emergency by the memo's second."""
    return Switch.objects.filter(name=EMERGENCY_STOP, active=True).exists()


@dataclass
class RolloutSettings:
    """All that an operator holds in hand, as one change finds or leaves it."""

    percents: dict[str, Decimal]
    everyone: dict[str, bool]
    switches: dict[str, bool]
    held_for: Text
    on_breach: str
    remembered: dict[str, str]

    @classmethod
    def read(cls, rollout: Rollout) -> RolloutSettings:
        flags = Flag.objects.filter(name__in=PHASES)
        return cls(
            percents=dict.fromkeys(PHASES, Decimal(0)) | {flag.name: flag.percent for flag in flags},
            everyone={flag.name: flag.everyone for flag in flags if flag.everyone is not None},
            switches=dict(Switch.objects.filter(name__in=[*SWITCHES, EMERGENCY_STOP]).values_list("name", "active")),
            held_for=rollout.held or Message("by an operator") if rollout.is_paused else "",
            on_breach=rollout.on_breach,
            remembered=rollout.remembered,
        )

    @property
    def is_latched(self) -> bool:
        return self.switches.get(EMERGENCY_STOP, False)

    def percents_after(self, name: str, value: object) -> rules.Percents:
        """Return all percentages after setting one phase; refuse what must not be."""
        if rules.percentage(value) > self.percents[name]:
            self.refuse_raise()
        return rules.settled(self.percents, name, value)

    def refuse_raise(self) -> None:
        """Let nothing go up under the emergency stop or while the rollout is paused."""
        if self.is_latched:
            why = Message("The emergency stop is latched: only “rollout resume --reason …” clears it")
            raise ChangeRefused(why)
        if self.held_for:
            words = {"why": self.held_for}
            raise ChangeRefused(Message("The rollout is paused (%(why)s): “rollout resume --reason …” goes on", words))

    def as_json(self) -> dict[str, Any]:
        percents = {name: rules.format_percent(percent) for name, percent in self.percents.items()}
        held_for, _sentence = to_columns(self.held_for, HELD_LENGTH)
        return vars(self) | {"percents": percents, "held_for": held_for}


def flag_as_json(flag: Flag, percent: Decimal) -> dict[str, Any]:
    """Return one flag as the audit keeps it at this percentage; those of other apps are in no Controls."""
    kept: dict[str, Any] = {"percents": {flag.name: rules.format_percent(percent)}}
    return kept if flag.everyone is None else kept | {"everyone": {flag.name: flag.everyone}}


def rule_as_json(rule: UniversityRule) -> dict[str, Any]:
    expires_at = rule.expires_at.isoformat() if rule.expires_at else None
    return {"university": rule.university_id, "phase": rule.phase, "allowed": rule.is_allowed, "expires_at": expires_at}


def plan_as_json(plan: Plan) -> dict[str, Any]:
    return {"phase": plan.phase, "percent": rules.format_percent(plan.percent), "due_at": plan.due_at.isoformat()}


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """What a change did, or would do when it was a dry run."""

    before: RolloutSettings
    after: RolloutSettings
    revision: int
    is_dry_run: bool

    @property
    def is_change(self) -> bool:
        return self.before != self.after

    def differences(self) -> Iterator[tuple[str, Any, Any]]:
        """Yield name, old and new value of what differs, percentages and switches one by one."""
        before, after = (one.as_json() | {"held_for": str(one.held_for)} for one in (self.before, self.after))
        for name in [name for name in before if name != "remembered"]:
            if isinstance(before[name], dict):
                for key in sorted({**before[name], **after[name]}):
                    if before[name].get(key) != after[name].get(key):
                        yield key, before[name].get(key), after[name].get(key)
            elif before[name] != after[name]:
                yield name, before[name], after[name]
