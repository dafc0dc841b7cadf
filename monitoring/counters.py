"""What this machine's processes counted, merged from the folder that they share."""

import os

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector


def process_registry() -> CollectorRegistry:
    """Return what all processes of this machine counted, or this one alone where they share no folder."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def counted(name: str) -> dict[tuple[str, ...], float]:
    """Return a counter's values by its label values, in the order of the label names."""
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for metric in process_registry().collect()
        if metric.name == name
        for sample in metric.samples
        if sample.name == f"{name}_total"
    }
