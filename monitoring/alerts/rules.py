"""The rule of each kind of alert: its indicator, the fields of its payload and the parameters of its message."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from config.lib.messages import to_columns
from monitoring.alerts.kinds import Kind, Severity
from monitoring.alerts.models import SENTENCES, Alert
from monitoring.indicators.models import IndicatorReading, Level
from profiles import failures

Params = dict[str, Any]
_LONGEST_PARAM = 500


@dataclass(frozen=True, slots=True)
class Check:
    """A rule that fires while its indicator is at ``level`` or worse.

    ``fields`` are the documented fields of the payload; rates are 0 to 1. ``key`` is the field that distinguishes the
    alerts of one kind; without it, only one alert of the kind can be open.
    """

    indicator: str
    params: Callable[[IndicatorReading], Params]
    fields: tuple[str, ...]
    level: Level = Level.WARNING
    key: str = ""

    def detect(self, kind: Kind, reading: IndicatorReading) -> Alert | None:
        """Return a new, unsaved alert; None while the indicator's level is better than ``self.level``."""
        if not reading.is_broken or (self.level == Level.CRITICAL and reading.level != Level.CRITICAL):
            return None
        known = {"current_rate": round(reading.value or 0, 4), "threshold": reading.warning_limit} | reading.data
        return Alert(
            kind=kind,
            key=str(known[self.key]) if self.key else "",
            severity=Severity.CRITICAL if reading.level == Level.CRITICAL else Severity.WARNING,
            words=self.params(reading),
            data={name: known[name] for name in self.fields},
        )


def _rates(reading: IndicatorReading) -> Params:
    rates = {"rate": reading.value, "limit": reading.warning_limit}
    return {name: f"{round(100 * (rate or 0), 1):g}%" for name, rate in rates.items()}


def _data(**fields: str) -> Callable[[IndicatorReading], Params]:
    """Return a function that takes the message's parameters from fields of a reading's data."""

    def params(reading: IndicatorReading) -> Params:
        values = {name: reading.data[data_field] for name, data_field in fields.items()}
        return {name: str(value) if isinstance(value, int) else f"{value:g}" for name, value in values.items()}

    return params


def _error(reading: IndicatorReading) -> Params:
    error = reading.data["last_error"]
    return {"error": error, SENTENCES: {"error": failures.message_for(error).as_json()}}


def _problems(reading: IndicatorReading) -> Params:
    return {"found": "; ".join(reading.data["findings"]), SENTENCES: {"found": reading.message}}


def _held(reading: IndicatorReading) -> Params:
    return {"why": to_columns(reading.sentence, _LONGEST_PARAM)[0], SENTENCES: {"why": reading.message}}


_RATE = ("current_rate", "threshold")

CHECKS: dict[Kind, Check] = {
    Kind.PROFILE_QUALITY_LOW: Check("profile_quality", _rates, (*_RATE, "total_profiles", "complete_profiles")),
    Kind.WEBHOOK_ERROR_RATE_HIGH: Check("webhook_error_rate", _rates, (*_RATE, "failed_events", "total_events")),
    Kind.CACHE_CONNECTION_FAILED: Check("redis_connected", _error, ("error",)),
    Kind.CACHE_EVICTIONS_HIGH: Check("evictions", _rates, (*_RATE, "evicted_keys")),
    Kind.INBOX_LAG_HIGH: Check(
        "inbox_lag",
        _data(pending="pending_events", lag="lag_seconds", limit="threshold_seconds"),
        ("lag_seconds", "threshold_seconds", "pending_events", "processing_enabled"),
        Level.CRITICAL,
    ),
    Kind.DEAD_LETTERS: Check("dead_letters", _data(count="dead_letters"), ("dead_letters", "total_dead_letters")),
    Kind.WEBHOOK_SILENT: Check(
        "seconds_since_update",
        _data(hours="silent_hours", limit="threshold_hours"),
        ("silent_hours", "threshold_hours"),
        Level.CRITICAL,
    ),
    Kind.SUBSCRIPTION_LOST: Check("subscription_lost", _problems, ("findings",)),
    Kind.SUBSCRIPTION_WRONG: Check("subscription_wrong", _problems, ("findings",)),
    Kind.DIRECT_API_MISSING: Check("direct_api_served", lambda reading: {"path": reading.data["path"]}, ("path",)),
    Kind.SECRET_FAILURES: Check(
        "secret_failures",
        _data(count="failed_requests", accepted="accepted_events"),
        ("failed_requests", "threshold", "accepted_events"),
    ),
    Kind.ROLLOUT_HELD: Check("rollout_held", _held, ("reason",)),
    Kind.BACKFILL_FAILED: Check(
        "backfill_failed_batches",
        _data(run="run", failed="failed_batches"),
        ("run", "failed_batches", "run_status"),
        key="run",
    ),
}
