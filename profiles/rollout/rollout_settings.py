"""The settings that operators control, and the result of a change to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from waffle.models import Switch

from config.lib.messages import Message, Text, to_columns
from profiles.rollout import rules
from profiles.rollout.models import HELD_LENGTH, Flag, Rollout
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SWITCHES
from profiles.rollout.rules import RolloutHeld


@dataclass
class RolloutSettings:
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
        if rules.percentage(value) > self.percents[name]:
            self.refuse_raise()
        return rules.set_phase(self.percents, name, value)

    def refuse_raise(self) -> None:
        """Raise RolloutHeld if the rollout is paused or the emergency stop is latched; call this for every increase."""
        if self.is_latched:
            raise RolloutHeld(Message("The emergency stop is on until somebody resumes the rollout."))
        if self.held_for:
            params = {"why": self.held_for}
            raise RolloutHeld(Message("The rollout is paused (%(why)s): resume it first.", params))

    def as_json(self) -> dict[str, Any]:
        percents = {name: rules.format_percent(percent) for name, percent in self.percents.items()}
        held_for, _sentence = to_columns(self.held_for, HELD_LENGTH)
        return vars(self) | {"percents": percents, "held_for": held_for}


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """The settings before and after a change; for a dry run, ``after`` is what they would be.

    After a dry run, ``needs_approval`` means that the change would wait for a second person. ``is_here_only`` means
    that no standby has confirmed the change.
    """

    before: RolloutSettings
    after: RolloutSettings
    revision: int
    is_dry_run: bool
    needs_approval: bool = False
    is_here_only: bool = False

    @property
    def is_change(self) -> bool:
        return self.before != self.after

    @property
    def is_resume(self) -> bool:
        """Return whether the change ends a pause or an emergency stop, and so starts a new monitored period."""
        was, now = (bool(each.held_for) or each.is_latched for each in (self.before, self.after))
        return was and not now

    def differences(self) -> Iterator[tuple[str, Any, Any]]:
        """Yield the name, old value and new value of each difference; phases and switches are compared one by one."""
        before, after = (each.as_json() | {"held_for": str(each.held_for)} for each in (self.before, self.after))
        for name in [name for name in before if name != "remembered"]:
            if isinstance(before[name], dict):
                for key in sorted({**before[name], **after[name]}):
                    if before[name].get(key) != after[name].get(key):
                        yield key, before[name].get(key), after[name].get(key)
            elif before[name] != after[name]:
                yield name, before[name], after[name]
