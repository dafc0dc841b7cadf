"""What the gates of phases 1 and 2 look at. A gate is named by its function and says in one line what it found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from monitoring import reports
from monitoring.models import MESSAGE_LENGTH, GateCheck, RoundTrip, Verdict
from profiles import cache, failures
from profiles.rollout.sentences import Sentence, from_columns, to_columns
from webhooks.models import InboxUpdate

TRIP_FRESH = timedelta(minutes=10)
LAG_LIMIT_SECONDS = 10.0
SILENCE_LIMIT = timedelta(minutes=15)
EVICTIONS_ALLOWED = 0.01


@dataclass(frozen=True, slots=True)
class Step:
    """A phase that is to go from one percentage to another."""

    phase: int
    current: Decimal
    target: Decimal
    since: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """``raw`` is what the gate alone said, where the checks in a row say something else."""

    gate: str
    verdict: Verdict
    sentence: Sentence
    value: float | None = None
    raw: Verdict | None = None

    @property
    def message(self) -> str:
        """Return the sentence in the language that is active."""
        return str(self.sentence)

    def as_json(self) -> dict[str, Any]:
        message, sentence = to_columns(self.sentence, MESSAGE_LENGTH)
        told = {"gate": self.gate, "verdict": str(self.verdict), "message": message, "value": self.value}
        return told | {"sentence": sentence}

    @staticmethod
    def told(kept: dict[str, Any]) -> str:
        """Return the message of a finding that was kept, in the language that is active."""
        return str(from_columns(kept["message"], kept.get("sentence")))


def found(gate: str, is_good: bool, good: Sentence, bad: Sentence, value: float | None = None) -> Finding:
    return Finding(gate, Verdict.PASS if is_good else Verdict.FAIL, good if is_good else bad, value)


def thousands(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")


def percent_of(share: float) -> str:
    return f"{100 * share:.1f} %"


# Phase 1


def migrated(step: Step) -> Finding:
    executor = MigrationExecutor(connection)
    missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    good, bad = Sentence("all migrations are applied"), Sentence("migrations missing: %(n)d", {"n": missing})
    return found("migrated", not missing, good, bad, missing)


def index_valid(step: Step) -> Finding:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid = to_regclass('idx_employees_profile_source')"
        )
        is_valid = bool(cursor.fetchone()[0])
    bad = Sentence("the index of profile_source is missing or invalid: run migrate")
    return found("index_valid", is_valid, Sentence("the index of profile_source is valid"), bad)


def redis_answers(step: Step) -> Finding:
    health = cache.health()
    bad = Sentence("Redis does not answer: %(error)s", {"error": failures.told(health["last_error"] or "")})
    return found("redis_answers", health["redis_connected"], Sentence("Redis answers"), bad)


def secret_set(step: Step) -> Finding:
    good, bad = Sentence("the webhook has a secret"), Sentence("WEBHOOK_SECRET is not set")
    return found("secret_set", bool(settings.WEBHOOK_SECRETS), good, bad)


def monitoring_on(step: Step) -> Finding:
    return Finding("monitoring_on", Verdict.PASS, Sentence("monitoring is on"))


# Phase 2


def round_trip(step: Step) -> Finding:
    trip = RoundTrip.objects.filter(at__gt=timezone.now() - TRIP_FRESH).first()
    if trip is None:
        why = Sentence("no synthetic update lately: rollout gates --probe")
        return Finding("round_trip", Verdict.INCONCLUSIVE, why)
    took = trip.took_ms or 0.0
    good = Sentence("a synthetic update came through in %(took)d ms", {"took": took})
    bad = Sentence("the synthetic update failed: %(error)s", {"error": Sentence(trip.error)})
    return found("round_trip", not trip.error, good, bad, took)


def inbox_lag(step: Step) -> Finding:
    with connection.cursor() as cursor:
        cursor.execute(
            # As InboxQuerySet.backlog(): a replayed update waits since it was put back.
            "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM coalesce(finished_at, now())"
            " - CASE tries WHEN 0 THEN next_try_at ELSE received_at END)) FROM webhook_inbox WHERE received_at > %s",
            [timezone.now() - TRIP_FRESH],
        )
        p95 = cursor.fetchone()[0]
    if p95 is None:
        return Finding("inbox_lag", Verdict.INCONCLUSIVE, Sentence("no updates to measure the inbox by"))
    words = {"lag": f"{max(float(p95), 0):.1f}", "limit": f"{LAG_LIMIT_SECONDS:g}"}
    good = Sentence("inbox lag %(lag)s s (p95)", words)
    bad = Sentence("inbox lag %(lag)s s > %(limit)s s (p95)", words)
    return found("inbox_lag", p95 <= LAG_LIMIT_SECONDS, good, bad, float(p95))


def webhook_errors(step: Step) -> Finding:
    stats = reports.webhook_stats("day")
    failed, finished = stats["failed_events"], stats["failed_events"] + stats["successful_events"]
    if not finished:
        return Finding("webhook_errors", Verdict.INCONCLUSIVE, Sentence("no updates in the last day"))
    limit = settings.WEBHOOK_ERROR_ALERT_THRESHOLD
    words = {"rate": percent_of(failed / finished), "limit": percent_of(limit), "n": thousands(finished)}
    good = Sentence("webhook errors %(rate)s (n = %(n)s)", words)
    bad = Sentence("webhook errors %(rate)s > %(limit)s (n = %(n)s)", words)
    return found("webhook_errors", failed / finished <= limit, good, bad, failed / finished)


def updates_arrive(step: Step) -> Finding:
    last = InboxUpdate.objects.exclude(update_type="other").order_by("-pk").only("received_at").first()
    if last is None:
        return Finding("updates_arrive", Verdict.INCONCLUSIVE, Sentence("no update has ever arrived"))
    silence = timezone.now() - last.received_at
    minutes = int(silence / timedelta(minutes=1))
    good = Sentence("updates are arriving, the last one %(minutes)d min ago", {"minutes": minutes})
    bad = Sentence("no updates for %(minutes)d min", {"minutes": minutes})
    return found("updates_arrive", silence <= SILENCE_LIMIT, good, bad, minutes)


def few_evictions(step: Step) -> Finding:
    health = cache.health()
    if not health["redis_connected"]:
        raise cache.CacheError(health["last_error"])
    evicted, cached = health["evicted_keys"] or 0, health["cached_profiles"] or 0
    day_ago = timezone.now() - timedelta(days=1)
    earlier = GateCheck.objects.filter(gate="few_evictions", at__gt=day_ago, value__gte=0).order_by("at").first()
    if earlier is None and evicted:
        return Finding("few_evictions", Verdict.INCONCLUSIVE, Sentence("evictions: the first look"), evicted)
    # A server that was started anew counts from zero.
    lost = max(evicted - int(earlier.value or 0), 0) if earlier else 0
    share = lost / max(cached, 1)
    good = Sentence("no notable evictions")
    bad = Sentence("Redis evicted %(share)s of the profiles in a day", {"share": percent_of(share)})
    return found("few_evictions", share < EVICTIONS_ALLOWED or not lost, good, bad, evicted)
