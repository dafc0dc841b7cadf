"""Prometheus: what the processes counted, merged, and what the stores hold at this moment."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import DatabaseError
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from monitoring import census, reports, traffic
from monitoring.counters import process_registry
from profiles import cache
from profiles.rollout.decision import current_state
from webhooks.models import InboxUpdate


class StoreCollector(Collector):
    """Gauges read from PostgreSQL and Redis at each scrape, equal whichever process answers."""

    def collect(self) -> Iterator[Metric]:
        profiles = GaugeMetricFamily("profile_total", "Cached profiles", labels=["source"])
        for row in census.profiles().rows:
            profiles.add_metric([row["source"]], row["count"])
        yield profiles
        completeness = reports.quality()["quality_metrics"]["completeness_score"]
        yield GaugeMetricFamily("profile_completeness_rate", "Completeness, 0 to 100", completeness)
        events = GaugeMetricFamily("webhook_events_total", "Updates in the inbox", labels=["type", "status"])
        for labels, count in traffic.totals().items():
            events.add_metric(labels, count)
        yield events
        backlog = InboxUpdate.objects.backlog()
        yield GaugeMetricFamily("webhook_inbox_pending", "Updates that wait", backlog.size)
        yield GaugeMetricFamily("webhook_inbox_lag_seconds", "Age of the oldest of them", backlog.age.total_seconds())
        employees = GaugeMetricFamily("employees_total", "Employees by who named them", labels=["source"])
        for row in census.employees().rows:
            employees.add_metric([row["source"]], row["count"])
        yield employees
        yield GaugeMetricFamily(
            "cache_connection_status", "1 while Redis answers", int(cache.health()["redis_connected"])
        )
        percents = GaugeMetricFamily("rollout_percent", "Share of employees admitted to a phase", labels=["flag"])
        for flag, hundredths in current_state().percents.items():
            percents.add_metric([flag], hundredths / 100)
        yield percents


def exposition() -> bytes:
    """Return what the processes counted and what the stores hold; the former also while PostgreSQL is away."""
    stores = CollectorRegistry(auto_describe=False)
    stores.register(StoreCollector())
    counted = generate_latest(process_registry())
    try:
        return counted + generate_latest(stores)
    except DatabaseError:
        return counted
