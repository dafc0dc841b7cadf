"""What is looked at for alerts: a check a kind, each of which returns what it found wrong, None while all is well.

A check that cannot look raises, and the alert stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.utils import timezone, translation

from employees.models import BackfillRun
from employees.models.backfill import BatchStatus
from monitoring import reports
from monitoring.alerts.kinds import Kind, Severity
from monitoring.alerts.models import SENTENCES, Sample
from monitoring.counters import counted
from profiles import cache, failures
from profiles.rollout.decision import is_processing
from profiles.rollout.models import Rollout
from profiles.rollout.sentences import Sentence, listed
from webhooks import silence, subscription
from webhooks.models import InboxUpdate, State

CRITICAL_BELOW = 0.05
# With fewer updates in the hour than prove five percent, the day is judged.
FEW_UPDATES = 20
DEAD_FOR = timedelta(days=1)
EVICTIONS_ALLOWED = 0.01
SECRET_FAILURES_ALLOWED = 10
SAMPLES_KEPT = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Found:
    """``data`` are the documented fields of the kind, rates from 0 to 1; ``words`` fill in the kind's sentence."""

    severity: Severity
    words: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    key: str = ""


class Look:
    """One round of checks: what several of them look at is asked once."""

    @cached_property
    def redis(self) -> dict[str, Any]:
        return cache.health()

    @cached_property
    def last_hour(self) -> dict[str, Any]:
        return reports.webhook_stats("hour")

    @cached_property
    def subscription(self) -> list[subscription.Finding]:
        return subscription.subscription_findings()


Check = Callable[[Look], Found | None]


def shown(rate: float) -> str:
    return f"{round(100 * rate, 1):g}%"


def growth(name: str, value: float, window: timedelta) -> float:
    """Note what a counter stands at; return by how much it grew in the window, or since the last check before it.

    A counter that was reset counts from zero.
    """
    now, samples = timezone.now(), Sample.objects.filter(name=name).values_list("value", flat=True)
    seen = samples.filter(at__gt=now - window).order_by("at") or samples.order_by("-at")[:1]
    values = [*seen, value]
    Sample.objects.create(name=name, at=now, value=value)
    Sample.objects.filter(name=name, at__lt=now - SAMPLES_KEPT).delete()
    return sum(after - before if after >= before else after for before, after in pairwise(values))


def profile_quality(look: Look) -> Found | None:
    report = reports.quality()
    rate, limit = report["quality_metrics"]["quality_score"] / 100, settings.PROFILE_QUALITY_ALERT_THRESHOLD
    if not report["total_profiles"] or rate >= limit:
        return None
    return Found(
        Severity.CRITICAL if rate < limit - CRITICAL_BELOW else Severity.WARNING,
        {"rate": shown(rate), "limit": shown(limit)},
        {
            "current_rate": round(rate, 4),
            "threshold": limit,
            "total_profiles": report["total_profiles"],
            "complete_profiles": report["quality_metrics"]["complete_profiles"],
        },
    )


def webhook_errors(look: Look) -> Found | None:
    stats = look.last_hour
    if stats["failed_events"] + stats["successful_events"] < FEW_UPDATES:
        stats = reports.webhook_stats("day")
    failed, finished = stats["failed_events"], stats["failed_events"] + stats["successful_events"]
    limit = settings.WEBHOOK_ERROR_ALERT_THRESHOLD
    if not finished or failed / finished <= limit:
        return None
    return Found(
        Severity.CRITICAL,
        {"rate": shown(failed / finished), "limit": shown(limit)},
        {
            "current_rate": round(failed / finished, 4),
            "threshold": limit,
            "failed_events": failed,
            "total_events": finished,
        },
    )


def cache_connection(look: Look) -> Found | None:
    if look.redis["redis_connected"]:
        return None
    error = look.redis["last_error"]
    words = {"error": error, SENTENCES: {"error": failures.told(error).as_json()}}
    return Found(Severity.CRITICAL, words, {"error": error})


def evictions(look: Look) -> Found | None:
    if not look.redis["redis_connected"]:
        raise cache.CacheError(look.redis["last_error"])
    evicted = growth("evicted_keys", look.redis["evicted_keys"] or 0, timedelta(days=1))
    rate = evicted / max(look.redis["cached_profiles"] or 0, 1)
    if not evicted or rate < EVICTIONS_ALLOWED:
        return None
    return Found(
        Severity.WARNING,
        {"rate": shown(rate), "limit": shown(EVICTIONS_ALLOWED)},
        {"current_rate": round(rate, 4), "threshold": EVICTIONS_ALLOWED, "evicted_keys": round(evicted)},
    )


def inbox_lag(look: Look) -> Found | None:
    backlog = InboxUpdate.objects.backlog()
    if backlog.age <= settings.INBOX_LAG_ALERT:
        return None
    lag, limit = backlog.age.total_seconds(), settings.INBOX_LAG_ALERT.total_seconds()
    return Found(
        Severity.CRITICAL,
        {"pending": str(backlog.size), "lag": f"{lag:.0f}", "limit": f"{limit:g}"},
        {
            "lag_seconds": round(lag),
            "threshold_seconds": limit,
            "pending_events": backlog.size,
            "processing_enabled": is_processing(),
        },
    )


def dead_letters(look: Look) -> Found | None:
    dead = InboxUpdate.objects.filter(state=State.DEAD)
    count = dead.filter(finished_at__gt=timezone.now() - DEAD_FOR).count()
    if not count:
        return None
    return Found(Severity.WARNING, {"count": str(count)}, {"dead_letters": count, "total_dead_letters": dead.count()})


def webhook_silence(look: Look) -> Found | None:
    silent = silence.silence()
    if silent is None:
        return None
    hours, limit = (round(length / timedelta(hours=1), 1) for length in (silent, settings.WEBHOOK_SILENCE_AFTER))
    return Found(
        Severity.CRITICAL,
        {"hours": f"{hours:g}", "limit": f"{limit:g}"},
        {"silent_hours": hours, "threshold_hours": limit},
    )


def subscription_lost(look: Look) -> Found | None:
    return _subscription(Severity.CRITICAL, [one for one in look.subscription if one.event == "subscription_lost"])


def subscription_wrong(look: Look) -> Found | None:
    return _subscription(Severity.WARNING, [one for one in look.subscription if one.event != "subscription_lost"])


def _subscription(severity: Severity, findings: list[subscription.Finding]) -> Found | None:
    if not findings:
        return None
    messages = [finding.message for finding in findings]
    sentences = {"found": listed(finding.sentence for finding in findings).as_json()}
    return Found(severity, {"found": "; ".join(messages), SENTENCES: sentences}, {"findings": messages})


def secret_failures(look: Look) -> Found | None:
    refused = counted("webhook_refusals").get(("401",), 0)
    count = round(growth("secret_failures", refused, timedelta(hours=1)))
    if count < SECRET_FAILURES_ALLOWED:
        return None
    accepted = look.last_hour["total_events"]
    return Found(
        # More wrong secrets than right ones: it is MAX that has the wrong one, and it unsubscribes the bot after 8 h.
        Severity.CRITICAL if count > accepted else Severity.WARNING,
        {"count": str(count), "accepted": str(accepted)},
        {"failed_requests": count, "threshold": SECRET_FAILURES_ALLOWED, "accepted_events": accepted},
    )


def rollout_held(look: Look) -> Found | None:
    rollout = Rollout.current()
    if not rollout.held_for:
        return None
    words: dict[str, Any] = {"why": rollout.held_for}
    if isinstance(rollout.held, Sentence):
        words[SENTENCES] = {"why": rollout.held.as_json()}
    # Like the message, for other systems.
    with translation.override("en"):
        return Found(Severity.WARNING, words, {"reason": str(rollout.held)})


def backfill_failed(look: Look) -> Found | None:
    run = BackfillRun.objects.first()
    failed = run.batches.filter(status=BatchStatus.FAILED).count() if run else 0
    if run is None or not failed:
        return None
    return Found(
        Severity.WARNING,
        {"failed": str(failed), "run": str(run.pk)},
        {"run": run.pk, "failed_batches": failed, "run_status": run.status},
        key=str(run.pk),
    )


CHECKS: dict[Kind, Check] = {
    Kind.PROFILE_QUALITY_LOW: profile_quality,
    Kind.WEBHOOK_ERROR_RATE_HIGH: webhook_errors,
    Kind.CACHE_CONNECTION_FAILED: cache_connection,
    Kind.CACHE_EVICTIONS_HIGH: evictions,
    Kind.INBOX_LAG_HIGH: inbox_lag,
    Kind.DEAD_LETTERS: dead_letters,
    Kind.WEBHOOK_SILENT: webhook_silence,
    Kind.SUBSCRIPTION_LOST: subscription_lost,
    Kind.SUBSCRIPTION_WRONG: subscription_wrong,
    Kind.SECRET_FAILURES: secret_failures,
    Kind.ROLLOUT_HELD: rollout_held,
    Kind.BACKFILL_FAILED: backfill_failed,
}
