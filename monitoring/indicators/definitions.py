"""The indicators: how each is measured, its unit, and within which limits it is healthy. The one list of them.

A limit of the level *warning* holds gates; the one of the level *critical* is for alerts that wake people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext_noop

from config.lib.messages import Message, percent_of, thousands
from monitoring.indicators import measurements
from monitoring.indicators.measurements import SECRET_FAILURES, Measured, Sources
from monitoring.indicators.models import Level
from monitoring.indicators.titles import TITLES
from monitoring.stats.comparison_stats import AGREEMENT_WANTED, CONFLICT_ALLOWED, SAMPLE_WANTED
from profiles.rollout.decision import is_monitored

LAG_LIMIT_SECONDS = 10.0
SILENCE_LIMIT = timedelta(minutes=15)
EVICTIONS_ALLOWED = 0.01
QUALITY_CRITICAL_BELOW = 0.05

Limit: TypeAlias = float | Callable[[], float | None] | None
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "≤": lambda value, limit: value <= limit,
    "<": lambda value, limit: value < limit,
    "≥": lambda value, limit: value >= limit,
}
# How a value, in its base unit, is written into a sentence.
_WRITTEN: dict[str, Callable[[float], str]] = {
    "%": percent_of,
    "points": lambda share: f"{100 * share:.1f}",
    "s": "{:.1f}".format,
    "ms": "{:.1f}".format,
}

T = gettext_noop


@dataclass(frozen=True, slots=True)
class Indicator:
    """``comparison`` is how a healthy value stands to its limit; one without a limit is always healthy.

    ``good`` and ``bad`` are the texts within and beyond the limit, ``unknown`` the one of too little data: fewer than
    ``least`` observed. ``words`` are what these call the value and the limit; ``n`` and what the measurement adds are
    words too. What only the worker can measure, others carry over from its last round; it does so once in ``every``.
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
    words: tuple[str, str] = ("value", "limit")
    least: int = 1
    is_worker_only: bool = False
    every: Callable[[], timedelta] = timedelta

    def limits(self, measured: Measured) -> tuple[float | None, float | None]:
        """Return the limits in force of both levels; settings may change them."""
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
        words = {"title": self.title_message(), "n": thousands(measured.n or 0), **measured.words}
        if level == Level.UNKNOWN:
            return Message(self.unknown, words | {"wanted": self.least})
        numbers = (measured.value, self.limits(measured)[0])
        words |= zip(self.words, map(self._written, numbers), strict=True)
        return Message(self.good if level == Level.OK else self.bad, words)

    def _written(self, value: float | None) -> str:
        return "—" if value is None else _WRITTEN.get(self.unit, thousands)(value)

    def title_message(self) -> Message:
        with translation.override(None):
            return Message(str(TITLES[self.name]))


def _seconds(setting: str) -> Limit:
    """Return a limit that a setting has; an empty one is none."""
    return lambda: getattr(settings, setting).total_seconds() or None


def _errors_allowed() -> float:
    return float(settings.WEBHOOK_ERROR_ALERT_THRESHOLD)


def _quality_wanted() -> float:
    return float(settings.PROFILE_QUALITY_ALERT_THRESHOLD)


def _check_interval() -> timedelta:
    interval: timedelta = settings.MONITORING_CHECK_INTERVAL
    return interval


_YES: dict[str, Any] = {"unit": "bool", "comparison": "≥", "limit": 1}
_NONE: dict[str, Any] = {"comparison": "≤", "limit": 0}
_TOO_FEW: dict[str, Any] = {"least": SAMPLE_WANTED, "unknown": T("%(n)s of %(wanted)d comparisons")}
_BY_MAX: dict[str, Any] = {**_NONE, "is_worker_only": True, "every": _check_interval}

# A table: an indicator a row, its texts below it.
# fmt: off
_ALL = (
    Indicator("migrations_missing", measurements.migrations_missing, **_NONE,
              good=T("all migrations are applied"), bad=T("migrations missing: %(n)d")),
    Indicator("source_index_valid", measurements.source_index_valid, **_YES,
              good=T("the index of profile_source is valid"),
              bad=T("the index of profile_source is missing or invalid: run migrate")),
    Indicator("webhook_secret_set", lambda _: Measured(float(bool(settings.WEBHOOK_SECRETS))), **_YES,
              good=T("the webhook has a secret"), bad=T("WEBHOOK_SECRET is not set")),
    Indicator("monitoring_on", lambda _: Measured(float(is_monitored())), **_YES,
              good=T("monitoring is on"), bad=T("monitoring is off")),
    Indicator("round_trip", measurements.round_trip, **_YES,
              good=T("a synthetic update came through in %(took)d ms"),
              unknown=T("no synthetic update lately: rollout gates --probe")),
    Indicator("inbox_lag", measurements.inbox_lag, "s", "≤", LAG_LIMIT_SECONDS, _seconds("INBOX_LAG_ALERT"),
              good=T("inbox lag %(value)s s"), bad=T("inbox lag %(value)s s > %(limit)s s"),
              unknown=T("no updates to measure the inbox by")),
    Indicator("inbox_pending", lambda sources: Measured(sources.backlog.size)),
    Indicator("webhook_error_rate", measurements.webhook_error_rate, "%", "≤", _errors_allowed, _errors_allowed,
              good=T("webhook errors %(rate)s (n = %(n)s)"), bad=T("webhook errors %(rate)s > %(limit)s (n = %(n)s)"),
              unknown=T("no updates in the last day"), words=("rate", "limit")),
    Indicator("seconds_since_update", measurements.seconds_since_update, "min", "<", SILENCE_LIMIT.total_seconds(),
              _seconds("WEBHOOK_SILENCE_AFTER"), good=T("updates are arriving, the last one %(minutes)d min ago"),
              bad=T("no updates for %(minutes)d min"), unknown=T("no update has ever arrived")),
    Indicator("dead_letters", measurements.dead_letters, **_NONE),
    Indicator("secret_failures", measurements.secret_failures, "", "≤", SECRET_FAILURES - 1, is_worker_only=True),
    Indicator("redis_connected", measurements.redis_connected, **_YES, critical=1,
              good=T("Redis answers"), bad=T("Redis does not answer: %(error)s")),
    Indicator("evictions", measurements.evictions, "%", "<", EVICTIONS_ALLOWED,
              good=T("no notable evictions"), bad=T("Redis evicted %(share)s of the profiles in a day"),
              unknown=T("evictions: the first look"), words=("share", "limit")),
    Indicator("cache_hit_rate", measurements.cache_hit_rate, "%", is_worker_only=True),
    Indicator("cache_latency", lambda sources: Measured(sources.connected_cache["latency_ms"]), "ms"),
    Indicator("cache_memory", lambda sources: Measured(sources.connected_cache["used_memory_bytes"])),
    Indicator("cached_profiles", lambda sources: Measured(sources.connected_cache["cached_profiles"])),
    Indicator("profile_quality", measurements.profile_quality, "points", "≥", _quality_wanted,
              lambda: _quality_wanted() - QUALITY_CRITICAL_BELOW, words=("score", "limit"),
              good=T("quality %(score)s ≥ %(limit)s"), bad=T("quality %(score)s < %(limit)s"),
              unknown=T("no profiles yet")),
    Indicator("profile_completeness", lambda sources: measurements.score(sources, "completeness"), "%"),
    Indicator("profile_freshness", lambda sources: measurements.score(sources, "freshness"), "%"),
    Indicator("coverage", measurements.coverage, "%"),
    Indicator("full_names", measurements.full_names, "%"),
    Indicator("agreement", measurements.agreement, "%", "≥", AGREEMENT_WANTED, **_TOO_FEW,
              good=T("agreement %(bound)s ≥ %(wanted)s (lower bound, n = %(n)s)"),
              bad=T("agreement %(bound)s < %(wanted)s (lower bound, n = %(n)s)"), words=("bound", "wanted")),
    Indicator("conflicts", measurements.conflicts, "%", "≤", CONFLICT_ALLOWED, **_TOO_FEW,
              good=T("conflicts %(bound)s ≤ %(limit)s (upper bound, n = %(n)s)"),
              bad=T("conflicts %(bound)s > %(limit)s (upper bound, n = %(n)s)"), words=("bound", "limit")),
    Indicator("universities_standing_out", measurements.universities_standing_out, **_NONE,
              good=T("no university stands out")),
    Indicator("reason_against", measurements.reason_against, "bool", "≤", 0, unknown=T("no comparisons"),
              good=T("nothing speaks against the cache (n = %(n)s)")),
    Indicator("comparison_coverage", lambda sources: Measured(sources.compared.coverage, sources.compared.total), "%"),
    Indicator("comparison_errors", lambda sources: Measured(sources.compared.errors, sources.compared.total), "%"),
    Indicator("subscription_lost", measurements.subscription_lost, **_BY_MAX, critical=0),
    Indicator("subscription_wrong", measurements.subscription_wrong, **_BY_MAX),
    Indicator("rollout_held", measurements.rollout_held, "bool", "≤", 0),
    Indicator("backfill_failed_batches", measurements.backfill_failed_batches, **_NONE),
)
# fmt: on
INDICATORS = {indicator.name: indicator for indicator in _ALL}
