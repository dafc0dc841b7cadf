"""What makes each kind of alert fire: an indicator that is beyond its limit, and what the alert says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from config.lib.messages import to_columns
from monitoring.alerts.kinds import Kind, Severity
from monitoring.alerts.models import SENTENCES
from monitoring.indicators.models import IndicatorReading, Level
from profiles import failures

Words = dict[str, Any]
_LONGEST_WORD = 500


@dataclass(frozen=True, slots=True)
class Detected:
    """``data`` are the documented fields of the kind, rates from 0 to 1; ``words`` fill in the kind's sentence."""

    severity: Severity
    words: Words
    data: dict[str, Any] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """An alert is found while its indicator is at ``level`` or beyond it; ``fields`` are those of its payload."""

    indicator: str
    words: Callable[[IndicatorReading], Words]
    fields: tuple[str, ...]
    level: Level = Level.WARNING
    key: str = ""

    def detect(self, reading: IndicatorReading) -> Detected | None:
        if not reading.is_broken or (self.level == Level.CRITICAL and reading.level != Level.CRITICAL):
            return None
        severity = Severity.CRITICAL if reading.level == Level.CRITICAL else Severity.WARNING
        known = {"current_rate": round(reading.value or 0, 4), "threshold": reading.warning_limit} | reading.data
        key = str(known[self.key]) if self.key else ""
        return Detected(severity, self.words(reading), {name: known[name] for name in self.fields}, key)


def _shown(rate: float | None) -> str:
    return f"{round(100 * (rate or 0), 1):g}%"


def _rate(reading: IndicatorReading) -> Words:
    return {"rate": _shown(reading.value), "limit": _shown(reading.warning_limit)}


def _named(**names: str) -> Callable[[IndicatorReading], Words]:
    """Return the words that are fields of the reading's data, by the names that they have there."""
    return lambda reading: {word: _number(reading.data[name]) for word, name in names.items()}


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _error(reading: IndicatorReading) -> Words:
    error = reading.data["last_error"]
    return {"error": error, SENTENCES: {"error": failures.message_for(error).as_json()}}


def _problems(reading: IndicatorReading) -> Words:
    return {"found": "; ".join(reading.data["findings"]), SENTENCES: {"found": reading.message}}


def _held(reading: IndicatorReading) -> Words:
    return {"why": to_columns(reading.sentence, _LONGEST_WORD)[0], SENTENCES: {"why": reading.message}}


_RATE = ("current_rate", "threshold")

CHECKS: dict[Kind, Check] = {
    Kind.PROFILE_QUALITY_LOW: Check("profile_quality", _rate, (*_RATE, "total_profiles", "complete_profiles")),
    Kind.WEBHOOK_ERROR_RATE_HIGH: Check("webhook_error_rate", _rate, (*_RATE, "failed_events", "total_events")),
    Kind.CACHE_CONNECTION_FAILED: Check("redis_connected", _error, ("error",)),
    Kind.CACHE_EVICTIONS_HIGH: Check("evictions", _rate, (*_RATE, "evicted_keys")),
    Kind.INBOX_LAG_HIGH: Check(
        "inbox_lag",
        _named(pending="pending_events", lag="lag_seconds", limit="threshold_seconds"),
        ("lag_seconds", "threshold_seconds", "pending_events", "processing_enabled"),
        Level.CRITICAL,
    ),
    Kind.DEAD_LETTERS: Check("dead_letters", _named(count="dead_letters"), ("dead_letters", "total_dead_letters")),
    Kind.WEBHOOK_SILENT: Check(
        "seconds_since_update",
        _named(hours="silent_hours", limit="threshold_hours"),
        ("silent_hours", "threshold_hours"),
        Level.CRITICAL,
    ),
    Kind.SUBSCRIPTION_LOST: Check("subscription_lost", _problems, ("findings",)),
    Kind.SUBSCRIPTION_WRONG: Check("subscription_wrong", _problems, ("findings",)),
    Kind.SECRET_FAILURES: Check(
        "secret_failures",
        _named(count="failed_requests", accepted="accepted_events"),
        ("failed_requests", "threshold", "accepted_events"),
    ),
    Kind.ROLLOUT_HELD: Check("rollout_held", _held, ("reason",)),
    Kind.BACKFILL_FAILED: Check(
        "backfill_failed_batches",
        _named(run="run", failed="failed_batches"),
        ("run", "failed_batches", "run_status"),
        key="run",
    ),
}
