"""Functions that measure the indicators, one per indicator, from reports, comparisons and the stores."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count, Q
from django.utils import timezone, translation
from django.utils.translation import gettext_noop

from config.lib import clock
from config.lib.messages import Message, join_messages
from config.postgres import locks
from employees.assessment import unapplied_migrations
from employees.models import BackfillBatch, BackfillRun, BatchStatus, RunStatus
from monitoring.indicators.models import IndicatorReading, RoundTrip
from monitoring.indicators.working_time import is_working_time, working_time
from monitoring.stats import comparison_stats, reports, rollups
from monitoring.stats.comparison_stats import AGREEMENT_WANTED, CONFLICT_ALLOWED, ComparisonStats
from monitoring.stats.process_counters import counted
from profiles import cache, failures, restores
from profiles.max_api import users
from profiles.rollout.decision import is_processing
from profiles.rollout.models import Rollout
from profiles.rollout.monitored_period import monitored_since
from profiles.rollout.rollout_settings import RolloutSettings
from webhooks import delivery_watchdog, subscription
from webhooks.models import InboxUpdate, State

ROUND_TRIP_WINDOW = timedelta(minutes=10)
LAG_WINDOW = timedelta(minutes=10)
# With fewer updates than this in the last hour, the error rate is computed over the last day.
FEW_UPDATES = 20
DEAD_LETTER_WINDOW = timedelta(days=1)
EVICTION_WINDOW = timedelta(days=1)
SECRET_WINDOW = timedelta(hours=1)
SECRET_FAILURES = 10
# The key of the number of comparisons that would bring a bound within its limit; None if no number would.
SAMPLE_NEEDED = "sample_needed"
# The key of the IDs of the universities with wrong names.
UNIVERSITIES = "universities"
# The key of the part of a value that has been added since the last resume, for values that a resume does not reset.
SINCE_RESUME = "since_resume"
REDIS_FIELDS = (
    "redis_connected", "last_error", "used_memory_bytes", "maxmemory_bytes", "maxmemory_policy", "evicted_keys",
    "cached_profiles", "latency_ms", "breaker",
)  # fmt: skip
# Messages for a resume within the window: data is missing since the resume, not for the whole window.
NOT_CHECKED = Message("not checked yet since the rollout resumed")
NO_UPDATES = Message("no updates since the rollout resumed")
NONE_PROCESSED = Message("no updates processed since the rollout resumed")
_OUT_OF_HOURS = gettext_noop("no updates for %(minutes)d min of working time; the check resumes in working hours")


# A commit may wait for a moment. A longer wait is critical, because changes fail.
STANDBY_LASTS_SECONDS, STANDBY_COUNTS_AS = 5.0, 121.0
# Each commit may wait only briefly, because requests give up. Waiting commits that are found in rounds at most this far
# apart count as one wait.
STANDBY_WINDOW = timedelta(minutes=1)
_STANDBY_STATE = "waiting for a standby"
# The key of the seconds that commits have waited for a standby, even if the reading is about another session.
_STANDBY_WAIT = "standby_seconds"
# The key of the figures of the university with the most comparisons among those with wrong names.
FIGURES = "figures"


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of a measurement; ``value`` is None if there is no data.

    ``n`` is the number of observations. ``params`` are parameters of the indicator's messages. ``message``, if set,
    replaces the messages for an indicator that is not healthy. ``data`` contains the fields that alerts send and pages
    show. ``critical_limit``, if set, replaces the indicator's own critical limit. If ``is_judged`` is False, a value
    beyond the limit is treated like too little data.
    """

    value: float | None
    n: int | None = None
    params: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    message: Message | None = None
    critical_limit: float | None = None
    is_judged: bool = True


class Sources:
    """Data shared by indicators that are measured together; each property is computed once, on first use."""

    cache = cached_property(lambda _self: reports.cache_health())
    last_hour = cached_property(lambda _self: reports.webhook_stats("hour"))
    backlog = cached_property(lambda _self: InboxUpdate.objects.backlog())
    quality = cached_property(lambda _self: reports.quality())
    coverage = cached_property(lambda _self: reports.coverage())
    by_university = cached_property(lambda _self: comparison_stats.by_university(comparison_stats.counted()))
    resumed_at = cached_property(lambda _self: monitored_since())
    subscription = cached_property(lambda _self: subscription.subscription_problems())

    @cached_property
    def connected_cache(self) -> dict[str, Any]:
        if not self.cache["redis_connected"]:
            raise cache.CacheError(self.cache["last_error"])
        return self.cache

    @cached_property
    def compared(self) -> ComparisonStats:
        counts: Counter[str] = Counter()
        for stats in self.by_university.values():
            counts.update(stats.counts)
        return ComparisonStats(dict(counts))


def migrations_missing(sources: Sources) -> Measured:
    count = len(unapplied_migrations())
    return Measured(count, params={"n": count})


def source_index_valid(sources: Sources) -> Measured:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid = to_regclass('idx_employees_profile_source')"
        )
        return Measured(float(bool(cursor.fetchone()[0])))


def _nothing(sources: Sources, window: timedelta, message: Message) -> Message | None:
    """Return the message for a measurement without data; None stands for the indicator's own message.

    If the rollout was resumed within the window, return ``message``, which states that there is no data since the
    resume. The indicator's own message states that there is no data in the whole window.
    """
    return message if sources.resumed_at > timezone.now() - window else None


def round_trip(sources: Sources) -> Measured:
    trip = RoundTrip.objects.filter(at__gt=monitored_since(ROUND_TRIP_WINDOW, resumed_at=sources.resumed_at)).first()
    if trip is None:
        return Measured(None, message=_nothing(sources, ROUND_TRIP_WINDOW, NOT_CHECKED))
    if trip.error:
        return Measured(0, message=Message("synthetic update failed: %(error)s", {"error": Message(trip.error)}))
    return Measured(1, params={"took": trip.took_ms or 0.0}, data={"took_ms": trip.took_ms})


def inbox_lag(sources: Sources) -> Measured:
    """Return the inbox lag in seconds.

    The lag is the p95 waiting time of the updates received within LAG_WINDOW, or the age of the oldest pending update
    if that is greater. The waiting time of a replayed update starts at its replay, as in InboxQuerySet.backlog().
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM coalesce(finished_at,"
            " %(now)s) - CASE tries WHEN 0 THEN next_try_at ELSE received_at END)) FROM webhook_inbox"
            " WHERE received_at > %(since)s",
            {"now": timezone.now(), "since": monitored_since(LAG_WINDOW, resumed_at=sources.resumed_at)},
        )
        seen, p95 = cursor.fetchone()
    backlog, limit = sources.backlog, settings.INBOX_LAG_ALERT.total_seconds()
    if not seen and not backlog.size:
        return Measured(None, 0, data={"oldest_seconds": 0.0}, message=_nothing(sources, LAG_WINDOW, NO_UPDATES))
    oldest = backlog.age.total_seconds()
    lag = max(float(p95 or 0), oldest, 0.0)
    data = {
        "lag_seconds": round(lag),
        "threshold_seconds": limit,
        "pending_events": backlog.size,
        "processing_enabled": is_processing(),
        "oldest_seconds": oldest,
    }
    return Measured(lag, max(seen, backlog.size), data=data)


def webhook_error_rate(sources: Sources) -> Measured:
    """Return the share of failed updates in the last hour.

    If the last hour had fewer than FEW_UPDATES updates, return the share in the last day.
    """
    failed, finished = 0, 0
    data: dict[str, Any] = {}
    for period in ("hour", "day"):
        since = monitored_since(reports.PERIODS[period], resumed_at=sources.resumed_at)
        now = timezone.now()
        counts = rollups.counts(since, now)
        failed, finished = counts.failed, counts.failed + counts.successful
        has_resumed = now - since < reports.PERIODS[period]
        data = {"failed_events": failed, "total_events": finished, "period": "resume" if has_resumed else period}
        if finished >= FEW_UPDATES:
            break
    share = failed / finished if finished else None
    message = None if finished else _nothing(sources, reports.PERIODS["day"], NONE_PROCESSED)
    return Measured(share, finished, data=data, message=message)


def seconds_since_update(sources: Sources) -> Measured:
    """Return the working time in seconds since MAX last sent an update.

    Outside working hours, this indicator has no limits.
    """
    since, now = delivery_watchdog.last_arrival(), timezone.now()
    if since is None:
        return Measured(None)
    silent, is_judged = working_time(since, now), is_working_time(now)
    minutes = int(silent / timedelta(minutes=1))
    ago = Message("%(minutes)d min ago", {"minutes": minutes}) if minutes else Message("less than a minute ago")
    hours, limit = (round(time / timedelta(hours=1), 1) for time in (silent, settings.WEBHOOK_SILENCE_AFTER))
    return Measured(
        silent.total_seconds(),
        params={"minutes": minutes, "ago": ago},
        data={"silent_hours": hours, "threshold_hours": limit},
        message=None if is_judged else Message(_OUT_OF_HOURS, {"minutes": minutes}),
        is_judged=is_judged,
    )


def dead_letters(sources: Sources) -> Measured:
    """Count the dead letters of the last day.

    Those from before a resume count too, because a resume does not replay dead letters.
    """
    dead = InboxUpdate.objects.filter(state=State.DEAD)
    since = timezone.now() - DEAD_LETTER_WINDOW
    counts = dead.aggregate(
        dead_letters=Count("pk", filter=Q(finished_at__gt=since)),
        total_dead_letters=Count("pk"),
        **{SINCE_RESUME: Count("pk", filter=Q(finished_at__gt=max(since, sources.resumed_at)))},
    )
    return Measured(counts["dead_letters"], data=counts)


def secret_failures(sources: Sources) -> Measured:
    """Return the number of requests with a wrong secret in the last hour.

    Those from before a resume count too, because a resume does not correct the secret.
    """
    since, total = timezone.now() - SECRET_WINDOW, counted("webhook_refusals").get(("401",), 0)
    count, data = _growth("secret_failures", total, since)
    new, _data = _growth("secret_failures", total, max(since, sources.resumed_at))
    accepted = sources.last_hour["total_events"]
    data |= {"failed_requests": round(count or 0), "threshold": SECRET_FAILURES, "accepted_events": accepted}
    data[SINCE_RESUME] = new or 0
    # More wrong secrets than accepted updates mean that MAX itself has the wrong secret, and MAX unsubscribes a failing
    # bot after 8 hours.
    return Measured(count or 0, data=data, critical_limit=accepted)


def redis_connected(sources: Sources) -> Measured:
    health = {name: sources.cache[name] for name in REDIS_FIELDS}
    error = failures.message_for(health["last_error"] or "")
    data = health | {"error": health["last_error"]}
    return Measured(float(health["redis_connected"]), params={"error": error}, data=data)


def database_restored(sources: Sources) -> Measured:
    """Return 1 if PostgreSQL has lost rows, as after a restore that nobody has accepted yet; otherwise 0."""
    now, before = restores.lost_progress()
    data = {name: now[name] for name in restores.COUNTERS}
    data |= {f"{name}_before": before.get(name, count) for name, count in data.items()}
    return Measured(float(bool(before)), params={name: str(count) for name, count in data.items()}, data=data)


def evictions(sources: Sources) -> Measured:
    """Return the number of keys evicted in the last day, divided by the number of cached profiles.

    At the first measurement, return None if keys have been evicted, because the time of the evictions is unknown.
    """
    health = sources.connected_cache
    since = monitored_since(EVICTION_WINDOW, resumed_at=sources.resumed_at)
    evicted, data = _growth("evictions", health["evicted_keys"] or 0, since)
    if evicted is None:
        return Measured(None if health["evicted_keys"] else 0, data=data)
    return Measured(evicted / max(health["cached_profiles"] or 0, 1), data=data | {"evicted_keys": round(evicted)})


def cache_hit_rate(sources: Sources) -> Measured:
    data = {name: sources.cache[name] for name in ("total_operations", "failed_operations")}
    return Measured(sources.cache["cache_hit_rate"], data["total_operations"], data=data)


def _growth(name: str, counter: float, since: datetime) -> tuple[float | None, dict[str, Any]]:
    """Return how much a counter has grown since a time, and the data to store with the new reading.

    At the first measurement, the growth is None. If a counter is lower than at the last measurement, it was reset to 0.
    Each reading stores the total growth, so that earlier readings can be deleted.
    """
    rows = IndicatorReading.objects.filter(name=name, data__has_key="grown").order_by("round_at")
    last = rows.last()
    if last is None:
        return None, {"counter": counter, "grown": 0}
    difference = counter - last.data["counter"]
    grown = last.data["grown"] + (difference if difference >= 0 else counter)
    first = rows.filter(round_at__gt=since).first() or last
    return grown - first.data["grown"], {"counter": counter, "grown": grown}


def score(sources: Sources, name: str, **data: Any) -> Measured:
    report = sources.quality
    return Measured(report["quality_metrics"][f"{name}_score"] / 100, report["total_profiles"], data=data)


def profile_quality(sources: Sources) -> Measured:
    report = sources.quality
    counts = {name: count for name, count in report["quality_metrics"].items() if name.endswith("_profiles")}
    by_source = {source: row["count"] for source, row in report["source_breakdown"].items()}
    return score(sources, "quality", total_profiles=report["total_profiles"], by_source=by_source, **counts)


def coverage(sources: Sources) -> Measured:
    names = ("total_users", "users_with_profiles", "employees_by_source")
    data = {name: sources.coverage[name] for name in names}
    return Measured(sources.coverage["coverage_percentage"] / 100, data["total_users"], data=data)


def full_names(sources: Sources) -> Measured:
    return Measured(sources.coverage["full_name_percentage"] / 100, sources.coverage["total_users"])


def agreement(sources: Sources) -> Measured:
    stats = sources.compared
    needed = comparison_stats.sample_needed(stats.agreement, lambda bounds: bounds[0] >= AGREEMENT_WANTED)
    return Measured(stats.agreement_bounds[0], stats.n, data={SAMPLE_NEEDED: needed})


def conflicts(sources: Sources) -> Measured:
    stats = sources.compared
    share = stats.conflicts / stats.n if stats.n else None
    needed = comparison_stats.sample_needed(share, lambda bounds: bounds[1] <= CONFLICT_ALLOWED)
    return Measured(stats.conflict_bounds[1], stats.n, data={"conflicts": stats.conflicts, SAMPLE_NEEDED: needed})


def universities_standing_out(sources: Sources) -> Measured:
    """Count the universities whose own comparisons prove that too many of their cached names are wrong.

    The message contains neither names nor figures of universities, because users who are limited to another university
    see it as well. ``data`` has the IDs of the universities, the lowest agreement first, and the figures of the
    university with the most comparisons. Each page adds to the message what its reader may see.
    """
    bad = {pk: stats for pk, stats in sources.by_university.items() if stats.is_proven_bad}
    if not bad:
        return Measured(0)
    message = Message("universities with wrong cached names: %(count)d", {"count": len(bad)})
    figures = max(bad.values(), key=attrgetter("n")).favourable_bounds().as_json()
    worst = sorted(bad, key=lambda pk: (bad[pk].agreement_bounds[1], pk))
    return Measured(len(bad), message=message, data={UNIVERSITIES: worst, FIGURES: figures})


def reason_against(sources: Sources) -> Measured:
    """Return 1 if the comparisons prove that too many cached names are wrong.

    Return 0 otherwise, also if there are too few comparisons to prove it.
    """
    stats = sources.compared
    message = stats.favourable_bounds() if stats.is_proven_bad else None
    return Measured(float(stats.is_proven_bad), stats.n, message=message)


def subscription_problems(sources: Sources, *, is_lost: bool) -> Measured:
    """Count the problems of the webhook subscription at MAX.

    With ``is_lost``, count only the problem that the subscription is lost; otherwise, count all problems but that one.
    """
    problems = [one for one in sources.subscription if (one.event == "subscription_lost") == is_lost]
    message = join_messages(problem.message for problem in problems) if problems else None
    return Measured(len(problems), data={"findings": [str(problem) for problem in problems]}, message=message)


def direct_api_served(sources: Sources) -> Measured:
    if not settings.MAX_BOT_TOKEN:
        return Measured(None)
    path = settings.MAX_API_USERS_PATH
    return Measured(float(users.is_served()), params={"path": path}, data={"path": path})


def standby_wait() -> locks.Session | None:
    """Return the session whose commit waits longest for a synchronous standby; None if none waits noticeably.

    If earlier rounds, at most STANDBY_WINDOW apart, have also found a waiting commit, ``seconds`` counts from the first
    of these rounds.
    """
    waiting = locks.standby_wait()
    if waiting is None:
        return None
    is_recent = Q(round_at__gt=timezone.now() - STANDBY_WINDOW, round_at__lte=timezone.now())
    found = IndicatorReading.objects.filter(is_recent, name="blocking_session", data__has_key=_STANDBY_WAIT)
    last = found.order_by("-round_at").values_list("round_at", f"data__{_STANDBY_WAIT}").first()
    seconds = last[1] + clock.age(last[0]).total_seconds() if last else 0
    return waiting._replace(seconds=max(waiting.seconds, seconds))


def standby_message(waiting: locks.Session) -> Message:
    return Message(locks.WAITING_FOR_STANDBY, {"seconds": round(waiting.seconds)})


def blocking_session(sources: Sources) -> Measured:
    """Return the age in seconds of the transaction that other sessions wait for; 0 if there is none.

    If commits have waited for a synchronous standby for at least STANDBY_LASTS_SECONDS, the alert has to be critical.
    The value is then at least STANDBY_COUNTS_AS, which is beyond the critical limit.
    """
    waiting, session = standby_wait(), locks.blocking_session()
    wait = {_STANDBY_WAIT: round(waiting.seconds)} if waiting else {}
    # A short wait for a standby must not hide a session that holds a lock.
    if waiting and (waiting.seconds >= STANDBY_LASTS_SECONDS or session is None):
        seconds = max(waiting.seconds, STANDBY_COUNTS_AS) if waiting.seconds >= STANDBY_LASTS_SECONDS else 0
        data = {"pid": waiting.pid, "application": waiting.name, "state": _STANDBY_STATE}
        data |= {"seconds": round(waiting.seconds)}
        return Measured(seconds, message=standby_message(waiting), data=data | wait)
    if session is None:
        return Measured(0)
    fields = {"pid": session.pid, "application": session.name, "state": session.state}
    return Measured(session.seconds, params=fields, data=fields | wait | {"seconds": round(session.seconds)})


def rollout_held(sources: Sources) -> Measured:
    controls = RolloutSettings.read(Rollout.current())
    held = controls.held_for
    if controls.is_latched:
        # A stop needs no pause, and the reason for an earlier pause names a percentage that no longer applies.
        held = Message("the emergency stop is on, and all names come from the direct API")
    if not held:
        return Measured(0)
    message = held if isinstance(held, Message) else Message(held.replace("%", "%%"))
    # Other systems read ``data``, so the reason is in English, like the alert's message.
    with translation.override("en"):
        return Measured(1, message=message, data={"reason": str(held)})


def backfill_failed_batches(sources: Sources) -> Measured:
    """Count the failed batches of the latest backfill.

    Return 0 if the backfill was undone, because its failed batches cannot be retried.
    """
    run = BackfillRun.objects.first()
    counts = run is not None and run.status not in (RunStatus.UNDOING, RunStatus.UNDONE)
    batches = BackfillBatch.objects.filter(run=run if counts else None, status=BatchStatus.FAILED)
    new = Count("pk", filter=Q(created_at__gt=sources.resumed_at))
    data = batches.aggregate(failed_batches=Count("pk"), **{SINCE_RESUME: new})
    if run:
        data |= {"run": run.pk, "run_status": run.status}
    return Measured(data["failed_batches"], data=data)
