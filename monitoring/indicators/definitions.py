"""Define every indicator: its measurement, unit, limits and messages.

If a value is beyond the warning limit, the gates that use the indicator fail. If it is beyond the critical limit, the
indicator's alert is critical.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias

from django.conf import settings
from django.utils.translation import gettext_noop

from config.lib.messages import Message, percent_of, thousands, title_message
from config.postgres.locks import BLOCKING_SESSION
from monitoring.indicators import measurements
from monitoring.indicators.labels import TITLES
from monitoring.indicators.measurements import SECRET_FAILURES, Measured, Sources
from monitoring.indicators.models import Level
from monitoring.stats.comparison_stats import AGREEMENT_WANTED, CONFLICT_ALLOWED, SAMPLE_WANTED
from profiles.rollout.decision import is_monitored

LAG_LIMIT_SECONDS = 10.0
SILENCE_LIMIT = timedelta(minutes=15)
EVICTIONS_ALLOWED = 0.01
LOCK_WARNING_SECONDS = 30.0
LOCK_CRITICAL_SECONDS = 120.0
QUALITY_CRITICAL_BELOW = 0.05

Limit: TypeAlias = float | Callable[[], float | None] | None
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "≤": lambda value, limit: value <= limit,
    "<": lambda value, limit: value < limit,
    "≥": lambda value, limit: value >= limit,
}
# By unit: the function that formats a value for messages; the value is in the base unit.
_FORMATS: dict[str, Callable[[float], str]] = {
    "%": percent_of,
    "points": lambda share: f"{100 * share:.1f}",
    "s": "{:.1f}".format,
    "ms": "{:.1f}".format,
}

T = gettext_noop


@dataclass(frozen=True, slots=True)
class Indicator:
    """The definition of an indicator: how to measure it, its limits and its messages.

    ``comparison`` is the operator between a healthy value and its limit, such as ≤. The message is ``good`` for a
    healthy value, ``bad`` for a value beyond the limit, and ``unknown`` if there are fewer than ``least`` observations.
    ``param_names`` are the names of the message parameters for the value and the limit; the other parameters are
    ``title``, ``n`` and ``Measured.params``. If ``is_worker_only``, only the task worker measures the indicator, once
    per ``every``; all other rounds copy its last reading.
    """

    name: str
    measure: Callable[[Sources], Measured]
    unit: str = ""
    comparison: str = ""
    limit: Limit = None
    critical: Limit = None
    good: str = T("%(title)s: %(value)s")
    bad: str = T("%(title)s: %(value)s (limit: %(limit)s)")
    unknown: str = T("%(title)s: too little data")
    param_names: tuple[str, str] = ("value", "limit")
    least: int = 1
    is_worker_only: bool = False
    every: Callable[[], timedelta] = timedelta

    def limits(self, measured: Measured) -> tuple[float | None, float | None]:
        """Return the current warning limit and critical limit; None stands for a limit that is not set."""
        limit, critical = (limit() if callable(limit) else limit for limit in (self.limit, self.critical))
        return limit, critical if measured.critical_limit is None else measured.critical_limit

    def level_of(self, measured: Measured) -> Level:
        limit, critical = self.limits(measured)
        if measured.value is None or (measured.n is not None and measured.n < self.least):
            return Level.UNKNOWN
        if limit is None or _HOLDS[self.comparison](measured.value, limit):
            return Level.OK
        if not measured.is_judged:
            return Level.UNKNOWN
        is_critical = critical is not None and not _HOLDS[self.comparison](measured.value, critical)
        return Level.CRITICAL if is_critical else Level.WARNING

    def message_of(self, measured: Measured) -> Message:
        level = self.level_of(measured)
        if measured.message is not None and level != Level.OK:
            return measured.message
        params = {"title": title_message(TITLES[self.name]), "n": thousands(measured.n or 0), **measured.params}
        if level == Level.UNKNOWN:
            return Message(self.unknown, params | {"wanted": self.least})
        for name, value in zip(self.param_names, (measured.value, self.limits(measured)[0]), strict=True):
            params[name] = "—" if value is None else _FORMATS.get(self.unit, thousands)(value)
        return Message(self.good if level == Level.OK else self.bad, params)


def _setting(name: str) -> Callable[[], Any]:
    return lambda: getattr(settings, name)


def _seconds(name: str) -> Limit:
    """Return a limit in seconds that is read from a duration setting; a duration of 0 means no limit."""
    return lambda: getattr(settings, name).total_seconds() or None


_errors_allowed = _setting("WEBHOOK_ERROR_ALERT_THRESHOLD")
_quality_wanted = _setting("PROFILE_QUALITY_ALERT_THRESHOLD")
_YES: dict[str, Any] = {"unit": "bool", "comparison": "≥", "limit": 1}
_NONE: dict[str, Any] = {"comparison": "≤", "limit": 0}
_TOO_FEW: dict[str, Any] = {"least": SAMPLE_WANTED, "unknown": T("%(n)s of %(wanted)d comparisons")}
_BY_MAX: dict[str, Any] = {"is_worker_only": True, "every": _setting("MONITORING_CHECK_INTERVAL")}

# Each entry ends with its messages.
# fmt: off
_ALL = (
    Indicator("migrations_missing", measurements.migrations_missing, **_NONE,
              good=T("all migrations are applied"), bad=T("unapplied migrations: %(n)d; run migrate")),
    Indicator("source_index_valid", measurements.source_index_valid, **_YES,
              good=T("the index on profile_source is valid"),
              bad=T("the index on profile_source is missing or invalid; run migrate")),
    Indicator("webhook_secret_set", lambda _: Measured(float(bool(settings.WEBHOOK_SECRETS))), **_YES,
              good=T("WEBHOOK_SECRET is set"), bad=T("WEBHOOK_SECRET is not set")),
    Indicator("monitoring_on", lambda _: Measured(float(is_monitored())), **_YES,
              good=T("monitoring is on"), bad=T("monitoring is off")),
    Indicator("round_trip", measurements.round_trip, **_YES,
              good=T("synthetic update processed in %(took)d ms"),
              unknown=T("no synthetic update in the last 10 minutes")),
    Indicator("inbox_lag", measurements.inbox_lag, "s", "≤", LAG_LIMIT_SECONDS, _seconds("INBOX_LAG_ALERT"),
              good=T("inbox lag %(value)s s"), bad=T("inbox lag %(value)s s > %(limit)s s"),
              unknown=T("no updates in the last 10 minutes")),
    Indicator("inbox_pending", lambda sources: Measured(sources.backlog.size)),
    Indicator("webhook_error_rate", measurements.webhook_error_rate, "%", "≤", _errors_allowed, _errors_allowed,
              good=T("webhook errors %(rate)s (n = %(n)s)"), bad=T("webhook errors %(rate)s > %(limit)s (n = %(n)s)"),
              unknown=T("no updates in the last day"), param_names=("rate", "limit")),
    Indicator("seconds_since_update", measurements.seconds_since_update, "min", "<", SILENCE_LIMIT.total_seconds(),
              _seconds("WEBHOOK_SILENCE_AFTER"), good=T("updates are arriving; the last one came %(ago)s"),
              bad=T("no updates for %(minutes)d min"), unknown=T("no updates yet")),
    Indicator("dead_letters", measurements.dead_letters, **_NONE),
    Indicator("secret_failures", measurements.secret_failures, "", "≤", SECRET_FAILURES - 1, is_worker_only=True),
    Indicator("redis_connected", measurements.redis_connected, **_YES, critical=1,
              good=T("Redis answers"), bad=T("Redis is unavailable: %(error)s")),
    Indicator("database_restored", measurements.database_restored, **_NONE, critical=0,
              good=T("PostgreSQL has not returned to an older state"),
              bad=T("PostgreSQL has returned to an older state: rollout revision %(revision)s (previously"
                  " %(revision_before)s), last erasure %(erasures)s (previously %(erasures_before)s)")),
    Indicator("evictions", measurements.evictions, "%", "<", EVICTIONS_ALLOWED,
              good=T("no significant evictions"), bad=T("Redis evicted %(share)s of the profiles in a day"),
              unknown=T("evictions: only one measurement so far"), param_names=("share", "limit")),
    Indicator("cache_hit_rate", measurements.cache_hit_rate, "%", is_worker_only=True),
    Indicator("cache_latency", lambda sources: Measured(sources.connected_cache["latency_ms"]), "ms"),
    Indicator("cache_memory", lambda sources: Measured(sources.connected_cache["used_memory_bytes"])),
    Indicator("cached_profiles", lambda sources: Measured(sources.connected_cache["cached_profiles"])),
    Indicator("profile_quality", measurements.profile_quality, "points", "≥", _quality_wanted,
              lambda: _quality_wanted() - QUALITY_CRITICAL_BELOW, param_names=("score", "limit"),
              good=T("quality %(score)s ≥ %(limit)s"), bad=T("quality %(score)s < %(limit)s"),
              unknown=T("no profiles yet")),
    Indicator("profile_completeness", lambda sources: measurements.score(sources, "completeness"), "%"),
    Indicator("profile_freshness", lambda sources: measurements.score(sources, "freshness"), "%"),
    Indicator("coverage", measurements.coverage, "%"),
    Indicator("full_names", measurements.full_names, "%"),
    Indicator("agreement", measurements.agreement,
              "%", "≥", AGREEMENT_WANTED, **_TOO_FEW,
              good=T("agreement %(bound)s ≥ %(wanted)s (lower bound, n = %(n)s)"),
              bad=T("agreement %(bound)s < %(wanted)s (lower bound, n = %(n)s)"), param_names=("bound", "wanted")),
    Indicator("conflicts", measurements.conflicts,
              "%", "≤", CONFLICT_ALLOWED, **_TOO_FEW,
              good=T("conflicts %(bound)s ≤ %(limit)s (upper bound, n = %(n)s)"),
              bad=T("conflicts %(bound)s > %(limit)s (upper bound, n = %(n)s)"), param_names=("bound", "limit")),
    Indicator("universities_standing_out", measurements.universities_standing_out, **_NONE,
              good=T("no university has an unusually high share of wrong names")),
    Indicator("reason_against", measurements.reason_against, "bool", "≤", 0, unknown=T("no comparisons"),
              good=T("no evidence of wrong names in the cache (n = %(n)s)")),
    Indicator("comparison_coverage", lambda sources: Measured(sources.compared.coverage, sources.compared.total), "%"),
    Indicator("comparison_errors", lambda sources: Measured(sources.compared.errors, sources.compared.total), "%"),
    Indicator("subscription_lost", partial(measurements.subscription_problems, is_lost=True), critical=0,
              **_NONE, **_BY_MAX),
    Indicator("subscription_wrong", partial(measurements.subscription_problems, is_lost=False), **_NONE, **_BY_MAX),
    Indicator("direct_api_served", measurements.direct_api_served, **_YES, **_BY_MAX,
              good=T("MAX serves the direct API"),
              bad=T("MAX does not serve the direct API: there is no path %(path)s"),
              unknown=T("the direct API has not been checked: the task worker has not called it yet, "
                        "or MAX_BOT_TOKEN is not set")),
    Indicator("blocking_session", measurements.blocking_session, "s", "≤", LOCK_WARNING_SECONDS, LOCK_CRITICAL_SECONDS,
              good=T("no session blocks other sessions"), param_names=("seconds", "limit"), bad=BLOCKING_SESSION),
    Indicator("rollout_held", measurements.rollout_held, "bool", "≤", 0, good=T("the rollout is not held")),
    Indicator("backfill_failed_batches", measurements.backfill_failed_batches, **_NONE),
)
# fmt: on
INDICATORS = {indicator.name: indicator for indicator in _ALL}
