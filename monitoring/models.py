"""Import the models of the sub-packages, for Django to find them."""

from monitoring.alerts.models import Alert, Delivery
from monitoring.indicators.models import IndicatorReading, RoundTrip
from monitoring.rollout_control.models import GateCheck, Signature
from monitoring.stats.models import CachedStatistic, Rollup, RollupDelta, Sample, Snapshot

__all__ = [
    "Alert",
    "CachedStatistic",
    "Delivery",
    "GateCheck",
    "IndicatorReading",
    "Rollup",
    "RollupDelta",
    "RoundTrip",
    "Sample",
    "Signature",
    "Snapshot",
]
