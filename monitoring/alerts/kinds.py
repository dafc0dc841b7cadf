"""The kinds of alerts, and the rule of each: its indicator, its message and the fields of its payload."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from config.lib.messages import to_columns
from monitoring.indicators.models import IndicatorReading, Level
from profiles import failures

Params = dict[str, Any]
# The key of parameters that are messages: each is stored as text for the previous release, and as JSON under this key.
SENTENCES = "sentences"
_LONGEST_PARAM = 500
_LOCK = ("pid", "application", "state", "seconds")
_RATE = ("current_rate", "threshold")
_COUNTERS = ("revision", "revision_before", "erasures", "erasures_before")


class Severity(models.TextChoices):
    WARNING = "warning", _("warning")
    CRITICAL = "critical", _("critical")


class Kind(models.TextChoices):
    PROFILE_QUALITY_LOW = "profile_quality_low", _("profile quality")
    WEBHOOK_ERROR_RATE_HIGH = "webhook_error_rate_high", _("webhook errors")
    CACHE_CONNECTION_FAILED = "cache_connection_failed", _("Redis is unavailable")
    CACHE_EVICTIONS_HIGH = "cache_evictions_high", _("Redis evicts profiles")
    DATABASE_RESTORED = "database_restored", _("database in an older state")
    INBOX_LAG_HIGH = "inbox_lag_high", _("updates are waiting")
    DEAD_LETTERS = "dead_letters", _("dead letters")
    WEBHOOK_SILENT = "webhook_silent", _("no updates")
    SUBSCRIPTION_LOST = "subscription_lost", _("subscription lost")
    SUBSCRIPTION_WRONG = "subscription_wrong", _("subscription misconfigured")
    DIRECT_API_MISSING = "direct_api_missing", _("no direct API")
    SECRET_FAILURES = "secret_failures", _("wrong secrets")
    LOCK_HELD = "lock_held", _("a lock blocks other sessions")
    ROLLOUT_HELD = "rollout_held", _("rollout held")
    BACKFILL_FAILED = "backfill_failed", _("backfill failed")


@dataclass(frozen=True, slots=True)
class Check:
    """A rule for one kind of alert, which fires while its indicator is at ``level`` or worse.

    ``text`` is the message, and ``params`` returns the message's parameters. ``fields`` are the documented fields of
    the payload; rates in the payload are 0 to 1. ``key`` is the field that distinguishes open alerts of the same kind.
    If ``key`` is empty, only one alert of the kind can be open.
    """

    indicator: str
    text: str
    params: Callable[[IndicatorReading], Params]
    fields: tuple[str, ...]
    level: Level = Level.WARNING
    key: str = ""


def _rates(reading: IndicatorReading) -> Params:
    rates = {"rate": reading.value, "limit": reading.warning_limit}
    return {name: f"{round(100 * (rate or 0), 1):g}%" for name, rate in rates.items()}


def _data(**fields: str) -> Callable[[IndicatorReading], Params]:
    """Return a function that builds message parameters from a reading's data.

    ``fields`` maps the name of each parameter to its key in the data.
    """

    def params(reading: IndicatorReading) -> Params:
        values = {name: reading.data[data_field] for name, data_field in fields.items()}
        return {name: str(value) if isinstance(value, int) else f"{value:g}" for name, value in values.items()}

    return params


def _error(reading: IndicatorReading) -> Params:
    error = reading.data["last_error"]
    return {"error": error, SENTENCES: {"error": failures.message_for(error).as_json()}}


def _problems(reading: IndicatorReading) -> Params:
    return {"found": "; ".join(reading.data["findings"]), SENTENCES: {"found": reading.message}}


def _lock(reading: IndicatorReading) -> Params:
    # The previous release has the message of a lock, with these parameters.
    params = {name: str(reading.data[name]) for name in _LOCK}
    problem = to_columns(reading.sentence, _LONGEST_PARAM)[0]
    return params | {"problem": problem, SENTENCES: {"problem": reading.message}}


def _held(reading: IndicatorReading) -> Params:
    return {"why": to_columns(reading.sentence, _LONGEST_PARAM)[0], SENTENCES: {"why": reading.message}}


T = gettext_noop
CHECKS: dict[Kind, Check] = {
    Kind.PROFILE_QUALITY_LOW: Check(
        "profile_quality",
        T("Profile quality dropped to %(rate)s (threshold: %(limit)s)"),
        _rates,
        (*_RATE, "total_profiles", "complete_profiles"),
    ),
    Kind.WEBHOOK_ERROR_RATE_HIGH: Check(
        "webhook_error_rate",
        T("Webhook error rate rose to %(rate)s (threshold: %(limit)s)"),
        _rates,
        (*_RATE, "failed_events", "total_events"),
    ),
    Kind.CACHE_CONNECTION_FAILED: Check(
        "redis_connected", T("The profile cache is unavailable: %(error)s"), _error, ("error",)
    ),
    Kind.CACHE_EVICTIONS_HIGH: Check(
        "evictions",
        T("Redis evicted %(rate)s of the cached profiles in a day (threshold: %(limit)s). Raise REDIS_MAXMEMORY."),
        _rates,
        (*_RATE, "evicted_keys"),
    ),
    Kind.DATABASE_RESTORED: Check(
        "database_restored",
        T(
            "PostgreSQL has returned to an older state: rollout revision %(revision)s (previously"
            " %(revision_before)s), last erasure %(erasures)s (previously %(erasures_before)s). Check the switches and"
            " repeat the erasures, as the runbook describes."
        ),
        _data(**{name: name for name in _COUNTERS}),
        _COUNTERS,
    ),
    Kind.INBOX_LAG_HIGH: Check(
        "inbox_lag",
        T("Inbox lag is %(lag)s s (threshold: %(limit)s s), pending updates: %(pending)s. Check the inbox worker."),
        _data(pending="pending_events", lag="lag_seconds", limit="threshold_seconds"),
        ("lag_seconds", "threshold_seconds", "pending_events", "processing_enabled"),
        Level.CRITICAL,
    ),
    Kind.DEAD_LETTERS: Check(
        "dead_letters",
        T("Dead letters in the last day: %(count)s. Review and replay them."),
        _data(count="dead_letters"),
        ("dead_letters", "total_dead_letters"),
    ),
    Kind.WEBHOOK_SILENT: Check(
        "seconds_since_update",
        T("No updates for %(hours)s h of working time (threshold: %(limit)s h). Check the subscription at MAX."),
        _data(hours="silent_hours", limit="threshold_hours"),
        ("silent_hours", "threshold_hours"),
        Level.CRITICAL,
    ),
    Kind.SUBSCRIPTION_LOST: Check(
        "subscription_lost", T("The subscription at MAX is lost: %(found)s"), _problems, ("findings",)
    ),
    Kind.SUBSCRIPTION_WRONG: Check(
        "subscription_wrong", T("The subscription at MAX is misconfigured: %(found)s"), _problems, ("findings",)
    ),
    Kind.DIRECT_API_MISSING: Check(
        "direct_api_served",
        T(
            "MAX has no direct API at %(path)s. The direct API is not part of MAX's published API. Check MAX_API_URL"
            " and MAX_API_USERS_PATH."
        ),
        lambda reading: {"path": reading.data["path"]},
        ("path",),
    ),
    Kind.SECRET_FAILURES: Check(
        "secret_failures",
        T(
            "Requests with a wrong secret in the last hour: %(count)s, accepted updates: %(accepted)s."
            " Check that WEBHOOK_SECRET is the secret of the subscription."
        ),
        _data(count="failed_requests", accepted="accepted_events"),
        ("failed_requests", "threshold", "accepted_events"),
    ),
    Kind.LOCK_HELD: Check(
        "blocking_session",
        "%(problem)s",
        _lock,
        _LOCK,
    ),
    Kind.ROLLOUT_HELD: Check("rollout_held", T("The rollout is held: %(why)s"), _held, ("reason",)),
    Kind.BACKFILL_FAILED: Check(
        "backfill_failed_batches",
        T("Failed batches in backfill %(run)s: %(failed)s. Retry them."),
        _data(run="run", failed="failed_batches"),
        ("run", "failed_batches", "run_status"),
        key="run",
    ),
}
