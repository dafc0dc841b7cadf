"""The metrics for Prometheus: the counters of this machine's processes, and the latest readings of the indicators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from django.db import DatabaseError
from django.db.models import Count
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from monitoring.alerts.engine import last_check
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert, Channel, Delivery
from monitoring.indicators import rounds
from monitoring.indicators.models import Level, Round
from monitoring.stats.process_counters import CountersError, process_registry
from profiles import cache
from profiles.rollout.decision import current_state
from profiles.rollout.heartbeat import convergence


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def gauges(metric: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(metric, text, labels=[label])
    for name, value in values.items():
        family.add_metric([name], value)
    return family


def _indicators(readings: Round) -> Iterator[Metric]:
    yield gauge(
        "indicators_measured_timestamp_seconds", "Time of the measurement of all indicators", readings.at.timestamp()
    )
    values = {name: reading.value for name, reading in readings.readings.items() if reading.value is not None}
    yield gauges("indicator_value", "Indicators: shares 0 to 1, seconds, milliseconds, bytes or counts", "name", values)
    levels = {name: list(Level).index(Level(reading.level)) for name, reading in readings.readings.items()}
    yield gauges(
        "indicator_level", "0: ok, 1: warning, 2: critical, 3: too little data, 4: not measured", "name", levels
    )
    for name, source, text, factor in _SINGLE:
        if source in values:
            yield gauge(name, text, values[source] * factor)


# Gauges that show one indicator: the metric's name, the indicator, the help text, and the factor for the value.
_SINGLE = (
    ("profile_completeness_rate", "profile_completeness", "Completeness, 0 to 100", 100),
    ("profile_quality_score", "profile_quality", "Quality, 0 to 100", 100),
    ("webhook_inbox_pending", "inbox_pending", "Updates that wait for processing", 1),
    ("rollout_held", "rollout_held", "1 while the rollout is paused or held", 1),
    ("backfill_failed_batches", "backfill_failed_batches", "Failed batches of the latest backfill", 1),
)


def _profiles(readings: Round) -> Iterator[Metric]:
    quality, coverage = readings["profile_quality"].data, readings["coverage"].data
    if quality:
        yield gauges("profile_total", "Cached profiles", "source", quality["by_source"])
        states = {state: quality[f"{state}_profiles"] for state in ("complete", "partial", "empty", "stale")}
        yield gauges("profile_states", "Cached profiles by state; stale ones have a second state", "state", states)
    if coverage:
        yield gauges("employees_total", "Employees by name source", "source", coverage["employees_by_source"])


def _inbox(readings: Round) -> Iterator[Metric]:
    text = "Waiting time of updates: the p95 of ten minutes, or the oldest update if it waits longer"
    yield gauge("webhook_inbox_lag_seconds", text, readings["inbox_lag"].value or 0)
    if dead := readings["dead_letters"].data:
        yield gauge("webhook_dead_letters", "Dead letters that were not replayed", dead["total_dead_letters"])


def _redis(health: Mapping[str, Any]) -> Iterator[Metric]:
    yield gauge("cache_connection_status", "1 while Redis answers", int(health["redis_connected"]))
    if health["redis_connected"]:
        yield gauge("cache_latency_seconds", "Round trip of one INFO", health["latency_ms"] / 1000)
        yield gauge("cache_profiles", "Profiles in Redis", health["cached_profiles"] or 0)
        yield gauge("cache_memory_bytes", "Memory of Redis", health["used_memory_bytes"] or 0)
        yield gauge("cache_memory_limit_bytes", "Memory limit of Redis; 0: no limit", health["maxmemory_bytes"] or 0)
        evicted = health["evicted_keys"] or 0
        yield CounterMetricFamily("cache_evicted_keys", "Keys evicted since Redis started", evicted)


def _rollout() -> Iterator[Metric]:
    state, spread = current_state(), convergence()
    percents = {flag: hundredths / 100 for flag, hundredths in state.percents.items()}
    yield gauges("rollout_percent", "Share of employees admitted to a phase", "flag", percents)
    switches = {name: float(is_on) for name, is_on in state.switches.items()}
    yield gauges("rollout_switch", "1 while the switch is on", "switch", switches)
    yield gauge("rollout_revision", "Number of changes of the rollout", state.revision)
    kinds = Counter(process.partition("-")[0] for process in (*spread.reached, *spread.behind))
    yield gauges("processes_living", "Running processes that follow the rollout", "kind", kinds)
    yield gauge("processes_behind", "Running processes that have not applied the latest revision", len(spread.behind))


def _alerts() -> Iterator[Metric]:
    counts = Counter(Alert.objects.open().values_list("kind", flat=True))
    yield gauges("alerts_open", "Open alerts", "kind", {kind: counts[kind] for kind in Kind})
    waiting = dict(Delivery.objects.waiting().values_list("channel").annotate(n=Count("*")).order_by())
    by_channel = {str(channel): waiting.get(channel, 0) for channel in Channel}
    yield gauges("alert_deliveries_waiting", "Messages that are not delivered yet", "channel", by_channel)
    checked = last_check().at
    at = checked.timestamp() if checked else 0
    yield gauge("alerts_checked_timestamp_seconds", "Time of the last check of alerts; 0: never", at)


class _Snapshot(Collector):
    """A collector of metrics that were computed in advance."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def exposition() -> bytes:
    """Return all metrics as text for Prometheus.

    While PostgreSQL is unavailable, return only the metrics of Redis and the counters of this machine's processes. If
    the counters cannot be read, leave them out.
    """
    try:
        readings = rounds.latest()
        parts = (_indicators(readings), _profiles(readings), _inbox(readings), _rollout(), _alerts())
        text = _text(*parts, _redis(readings["redis_connected"].data))
    except DatabaseError:
        text = _text(_redis(cache.health()))
    # Read these counters last, because waiting for their lock would leave less time for PostgreSQL.
    with suppress(CountersError):
        text = generate_latest(process_registry()) + text
    return text


def _text(*parts: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(metric for part in parts for metric in part))
    return generate_latest(registry)
