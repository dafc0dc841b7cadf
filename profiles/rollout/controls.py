"""What an operator holds in hand, as one change finds it and as it leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _
from waffle.models import Switch

from profiles.rollout import rules
from profiles.rollout.models import EMERGENCY_STOP, PHASES, SWITCHES, Flag, Rollout
from profiles.rollout.rules import ChangeRefused


def is_latched() -> bool:
    """Ask the database itself, for work that must not outlast an emergency by the memo's second."""
    return Switch.objects.filter(name=EMERGENCY_STOP, active=True).exists()


@dataclass
class Controls:
    """All that an operator holds in hand, as one change finds or leaves it."""

    percents: dict[str, Decimal]
    everyone: dict[str, bool]
    switches: dict[str, bool]
    held_for: str
    on_breach: str
    remembered: dict[str, str]

    @classmethod
    def read(cls, rollout: Rollout) -> Controls:
        flags = Flag.objects.filter(name__in=PHASES)
        return cls(
            percents=dict.fromkeys(PHASES, Decimal(0)) | {flag.name: flag.percent for flag in flags},
            everyone={flag.name: flag.everyone for flag in flags if flag.everyone is not None},
            switches=dict(Switch.objects.filter(name__in=[*SWITCHES, EMERGENCY_STOP]).values_list("name", "active")),
            held_for=rollout.held_for or _("by an operator") if rollout.is_paused else "",
            on_breach=rollout.on_breach,
            remembered=rollout.remembered,
        )

    @property
    def is_latched(self) -> bool:
        return self.switches.get(EMERGENCY_STOP, False)

    def moved(self, name: str, value: object) -> rules.Percents:
        """Return all percentages after setting one phase; refuse what must not be."""
        if rules.percentage(value) > self.percents[name]:
            self.refuse_raise()
        return rules.settled(self.percents, name, value)

    def refuse_raise(self) -> None:
        """Let nothing go up under the emergency stop or while the rollout is paused."""
        if self.is_latched:
            raise ChangeRefused(_("The emergency stop is latched: only “rollout resume --reason …” clears it"))
        if self.held_for:
            words = {"why": self.held_for}
            raise ChangeRefused(_("The rollout is paused (%(why)s): “rollout resume --reason …” goes on") % words)

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"percents": {name: rules.shown(percent) for name, percent in self.percents.items()}}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change did, or would do when it was a dry run."""

    before: Controls
    after: Controls
    revision: int
    is_dry_run: bool

    @property
    def is_change(self) -> bool:
        return self.before != self.after

    def differences(self) -> Iterator[tuple[str, Any, Any]]:
        """Yield name, old and new value of what differs, percentages and switches one by one."""
        before, after = self.before.as_json(), self.after.as_json()
        for name in [name for name in before if name != "remembered"]:
            if isinstance(before[name], dict):
                for key in sorted({**before[name], **after[name]}):
                    if before[name].get(key) != after[name].get(key):
                        yield key, before[name].get(key), after[name].get(key)
            elif before[name] != after[name]:
                yield name, before[name], after[name]
