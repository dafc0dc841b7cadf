"""Types for the input of a gate, its result, and the results of all gates of a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from config.lib.messages import Message, from_columns, to_columns
from monitoring.rollout_control.models import MESSAGE_LENGTH, Verdict
from profiles.rollout.rules import format_percent


@dataclass(frozen=True, slots=True)
class TransitionStep:
    """A move of a phase to the ``target`` percentage from the ``current`` one, which it reached at ``since``."""

    phase: int
    current: Decimal
    target: Decimal
    since: datetime


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one gate. ``raw`` is the verdict of this check alone if ``verdict`` depends on earlier checks too.

    ``value`` and ``limit`` are in the base unit of ``unit``; shares are 0 to 1. ``comparison`` is the operator, such as
    ≤, between a good value and the limit.
    """

    gate: str
    verdict: Verdict
    message: Message
    value: float | None = None
    raw: Verdict | None = None
    limit: float | None = None
    comparison: str = ""
    unit: str = ""

    @classmethod
    def of(
        cls, gate: str, is_good: bool, good: Message, bad: Message, value: float | None = None, unit: str = ""
    ) -> GateResult:
        return cls(gate, Verdict.PASS if is_good else Verdict.FAIL, good if is_good else bad, value, unit=unit)

    def as_json(self) -> dict[str, Any]:
        message, sentence = to_columns(self.message, MESSAGE_LENGTH)
        fields = {"gate": self.gate, "verdict": str(self.verdict), "message": message, "value": self.value}
        return fields | {"sentence": sentence}

    @staticmethod
    def stored_message(stored: dict[str, Any]) -> str:
        """Return the message of a result that as_json() returned, in the active language."""
        return str(from_columns(stored["message"], stored.get("sentence")))

    def pending(self, passed: int, wanted: int) -> GateResult:
        """Return a copy of this pass as INCONCLUSIVE, because ``passed`` checks in a row are fewer than ``wanted``."""
        params = {"message": self.message, "passed": passed, "wanted": wanted}
        message = Message("%(message)s, in %(passed)d of %(wanted)d checks in a row", params)
        return replace(self, verdict=Verdict.INCONCLUSIVE, message=message, raw=Verdict.PASS)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of all gates of one step; ``measured_at`` is the time of the round of indicators."""

    step: TransitionStep
    results: list[GateResult]
    measured_at: datetime

    @property
    def failing(self) -> list[GateResult]:
        return [result for result in self.results if result.verdict != Verdict.PASS]

    def hold_message(self) -> Message:
        """Return a one-line message for operators: the held phase, and the messages of the gates that did not pass."""
        params = {"phase": self.step.phase, "percent": format_percent(self.step.current)}
        reasons = [result.message for result in self.failing]
        return Message("Phase %(phase)d is held at %(percent)s%%: %(reasons)s", {**params, "reasons": reasons})

    def as_json(self) -> list[dict[str, Any]]:
        return [result.as_json() for result in self.results]
