"""Prometheus: what the processes counted, merged, and what the stores hold at this moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from django.db import DatabaseError
from django.db.models import Count
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from employees.models import BackfillRun
from employees.models.backfill import BatchStatus
from monitoring import census, reports
from monitoring.alerts.freshness import checked_at
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert, Channel, Delivery
from monitoring.counters import process_registry
from profiles import cache
from profiles.rollout.decision import current_state
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Rollout
from webhooks.models import InboxUpdate, State


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family


def _profiles() -> Iterator[Metric]:
    report = reports.quality()
    metrics = report["quality_metrics"]
    by_source = {source: row["count"] for source, row in report["source_breakdown"].items()}
    yield gauges("profile_total", "Cached profiles", "source", by_source)
    states = {state: metrics[f"{state}_profiles"] for state in ("complete", "partial", "empty", "stale")}
    yield gauges("profile_states", "Cached profiles by what is known; stale ones are counted twice", "state", states)
    yield gauge("profile_completeness_rate", "Completeness, 0 to 100", metrics["completeness_score"])
    yield gauge("profile_quality_score", "Quality, 0 to 100", metrics["quality_score"])
    yield gauges("employees_total", "Employees by who named them", "source", _by_source(census.employees()))


def _by_source(found: census.Found) -> dict[str, int]:
    return {row["source"]: row["count"] for row in found.rows}


def _inbox() -> Iterator[Metric]:
    backlog = InboxUpdate.objects.backlog()
    yield gauge("webhook_inbox_pending", "Updates that wait", backlog.size)
    yield gauge("webhook_inbox_lag_seconds", "Age of the oldest of them", backlog.age.total_seconds())
    dead = InboxUpdate.objects.filter(state=State.DEAD).count()
    yield gauge("webhook_dead_letters", "Dead letters that nobody replayed", dead)


def _redis() -> Iterator[Metric]:
    health = cache.health()
    yield gauge("cache_connection_status", "1 while Redis answers", int(health["redis_connected"]))
    if health["redis_connected"]:
        yield gauge("cache_latency_seconds", "Round trip of one INFO", health["latency_ms"] / 1000)
        yield gauge("cache_profiles", "Profiles in Redis", health["cached_profiles"] or 0)
        yield gauge("cache_memory_bytes", "Memory that Redis uses", health["used_memory_bytes"] or 0)
        yield gauge("cache_memory_limit_bytes", "Its limit; 0: none", health["maxmemory_bytes"] or 0)
        evicted = health["evicted_keys"] or 0
        yield CounterMetricFamily("cache_evicted_keys", "Keys that Redis evicted since its start", evicted)


def _rollout() -> Iterator[Metric]:
    state, spread = current_state(), convergence()
    percents = {flag: hundredths / 100 for flag, hundredths in state.percents.items()}
    yield gauges("rollout_percent", "Share of employees admitted to a phase", "flag", percents)
    switches = {name: float(is_on) for name, is_on in state.switches.items()}
    yield gauges("rollout_switch", "1 while the switch is on", "switch", switches)
    yield gauge("rollout_revision", "Changes of the rollout so far", state.revision)
    yield gauge("rollout_held", "1 while the rollout is paused or held", int(Rollout.current().is_paused))
    kinds = Counter(process.partition("-")[0] for process in (*spread.reached, *spread.behind))
    yield gauges("processes_living", "Processes that follow the rollout", "kind", kinds)
    yield gauge("processes_behind", "Living processes that have not seen its revision", len(spread.behind))


def _alerts() -> Iterator[Metric]:
    counts = Counter(Alert.objects.open().values_list("kind", flat=True))
    yield gauges("alerts_open", "Open alerts", "kind", {kind: counts[kind] for kind in Kind})
    waiting = dict(Delivery.objects.waiting().values_list("channel").annotate(n=Count("*")).order_by())
    by_channel = {str(channel): waiting.get(channel, 0) for channel in Channel}
    yield gauges("alert_deliveries_waiting", "Messages that no sink took yet", "channel", by_channel)
    checked = checked_at()
    moment = checked.timestamp() if checked else 0
    yield gauge("alerts_checked_timestamp_seconds", "When alerts were last checked; 0: never", moment)
    run = BackfillRun.objects.first()
    failed = run.batches.filter(status=BatchStatus.FAILED).count() if run else 0
    yield gauge("backfill_failed_batches", "Failed batches of the latest backfill", failed)


class StoreCollector(Collector):
    """Asks stores at each scrape: the answer is the same whichever process gives it."""

    def __init__(self, *parts: Callable[[], Iterable[Metric]]) -> None:
        self.parts = parts

    def collect(self) -> Iterable[Metric]:
        for part in self.parts:
            yield from part()


def exposition() -> bytes:
    """Return what the processes counted, and what Redis and PostgreSQL hold; what does not answer is left out."""
    counted = generate_latest(process_registry()) + _asked(_redis)
    try:
        return counted + _asked(_profiles, _inbox, _rollout, _alerts)
    except DatabaseError:
        return counted


def _asked(*parts: Callable[[], Iterable[Metric]]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(*parts))
    return generate_latest(registry)
