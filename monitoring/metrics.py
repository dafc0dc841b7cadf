"""Prometheus: what the processes counted, merged, and what the stores hold at this moment."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import DatabaseError
from django.db.models import Count
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from monitoring import reports
from monitoring.counters import process_registry
from profiles import cache
from profiles.models import Profile
from profiles.rollout.decision import current_state
from webhooks.models import InboxUpdate


class StoreCollector(Collector):
    """Gauges read from PostgreSQL and Redis at each scrape, equal whichever process answers."""

    def collect(self) -> Iterator[Metric]:
        profiles = GaugeMetricFamily("profile_total", "Cached profiles", labels=["source"])
        for source, count in Profile.objects.values_list("source").annotate(n=Count("*")):
            profiles.add_metric([source], count)
        yield profiles
        completeness = reports.quality()["quality_metrics"]["completeness_score"]
        yield GaugeMetricFamily("profile_completeness_rate", "Completeness, 0 to 100", completeness)
        events = GaugeMetricFamily("webhook_events_total", "Updates in the inbox", labels=["type", "status"])
        for update_type, state, count in InboxUpdate.objects.values_list("update_type", "state").annotate(n=Count("*")):
            events.add_metric([update_type, state], count)
        yield events
        backlog = InboxUpdate.objects.backlog()
        yield GaugeMetricFamily("webhook_inbox_pending", "Updates that wait", backlog.size)
        yield GaugeMetricFamily("webhook_inbox_lag_seconds", "Age of the oldest of them", backlog.age.total_seconds())
        employees = GaugeMetricFamily("employees_total", "Employees by who named them", labels=["source"])
        for source, count in reports.employees_by_source().items():
            employees.add_metric([source], count)
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
