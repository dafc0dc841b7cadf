"""What a gate is asked about, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from config.lib.messages import Message, from_columns, to_columns
from monitoring.rollout_control.models import MESSAGE_LENGTH, Verdict
from profiles.rollout.rules import shown


@dataclass(frozen=True, slots=True)
class TransitionStep:
    """A phase that is to go from one percentage to another."""

    phase: int
    current: Decimal
    target: Decimal
    since: datetime


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate found. ``raw`` is its own verdict, where the checks in a row make another one of it.

    ``value`` and ``limit`` are in the base unit of ``unit``, shares 0 to 1; ``comparison`` is how they have to stand.
    """

    gate: str
    verdict: Verdict
    sentence: Message
    value: float | None = None
    raw: Verdict | None = None
    limit: float | None = None
    comparison: str = ""
    unit: str = ""

    @property
    def message(self) -> str:
        """Return the sentence in the language that is active."""
        return str(self.sentence)

    def as_json(self) -> dict[str, Any]:
        message, sentence = to_columns(self.sentence, MESSAGE_LENGTH)
        fields = {"gate": self.gate, "verdict": str(self.verdict), "message": message, "value": self.value}
        return fields | {"sentence": sentence}

    def only_after(self, passed: int, wanted: int) -> GateResult:
        """Return a pass that counts only with those of the checks before it."""
        words = {"message": self.sentence, "passed": passed, "wanted": wanted}
        sentence = Message("%(message)s, in %(passed)d of %(wanted)d checks in a row", words)
        return replace(self, verdict=Verdict.INCONCLUSIVE, sentence=sentence, raw=Verdict.PASS)

    @staticmethod
    def stored_message(stored: dict[str, Any]) -> str:
        """Return the message of a finding that was stored, in the language that is active."""
        return str(from_columns(stored["message"], stored.get("sentence")))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gates of one step find; ``measured_at`` is the moment of the indicators' round."""

    step: TransitionStep
    findings: list[GateResult]
    measured_at: datetime

    @property
    def failing(self) -> list[GateResult]:
        return [result for result in self.findings if result.verdict != Verdict.PASS]

    def held(self) -> Message:
        """Return why the phase is held, as an operator reads it; one line."""
        words = {"phase": self.step.phase, "percent": shown(self.step.current)}
        reasons = [result.sentence for result in self.failing]
        return Message("Held phase %(phase)d at %(percent)s %%: %(reasons)s", {**words, "reasons": reasons})

    def as_json(self) -> list[dict[str, Any]]:
        return [result.as_json() for result in self.findings]


def found(
    gate: str, is_good: bool, good: Message, bad: Message, value: float | None = None, unit: str = ""
) -> GateResult:
    verdict = Verdict.PASS if is_good else Verdict.FAIL
    return GateResult(gate, verdict, good if is_good else bad, value, unit=unit)
