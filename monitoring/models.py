"""Import the models of the sub-packages, because Django looks for the models of an app only here."""

from monitoring.alerts.models import Alert, Delivery  # noqa: F401
from monitoring.indicators.models import IndicatorReading, RoundTrip  # noqa: F401
from monitoring.rollout_control.models import GateCheck, Signature  # noqa: F401
from monitoring.stats.models import CachedStatistic, Rollup, RollupDelta, Sample  # noqa: F401
