"""Reports that outlast PostgreSQL: the last good numbers, with their age, from this process or from Redis."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.db import DatabaseError
from django.utils import timezone
from rest_framework import serializers
from rest_framework.utils.encoders import JSONEncoder

from monitoring.stats import reports
from profiles import cache

PATIENCE_SECONDS = 1.0
# After PostgreSQL fell silent: whoever looks at a dashboard then is not to wait for it each time.
REFUSE_SECONDS = 5.0

Report = dict[str, Any]
Compute = Callable[[], Report]

logger = logging.getLogger(__name__)
_kept: dict[str, Report] = {}
_refuses_until = 0.0

_ALL: dict[str, Compute] = {
    "coverage": reports.coverage,
    "quality": reports.quality,
    "rollout": reports.rollout,
    **{f"webhook_stats {period}": partial(reports.webhook_stats, period) for period in reports.PERIODS},
}


def patience_left() -> float:
    return 0.0 if time.monotonic() < _refuses_until else PATIENCE_SECONDS


def told(name: str, compute: Compute, shape: type[serializers.Serializer[Any]]) -> Report:
    """Return the report, or the last good one marked as degraded; where there never was one, all is None."""
    global _refuses_until  # noqa: PLW0603 (one PostgreSQL, one answer)
    try:
        report = {"degraded": False, **compute()}
    except DatabaseError as error:
        _refuses_until = max(_refuses_until, time.monotonic() + REFUSE_SECONDS)
        logger.warning("report is degraded", extra={"event": "report_degraded", "error": type(error).__name__})
        return _last_good(name) or {**dict.fromkeys(shape().fields), "degraded": True}
    _kept[name] = report
    return report


def _last_good(name: str) -> Report | None:
    """Return the newer one of what this process made and what the worker kept."""
    found = [report for report in (_kept.get(name), _from_redis(name)) if report]
    if not found:
        return None
    report = max(found, key=_made_at)
    age = timezone.now() - _made_at(report)
    return {**report, "degraded": True, "age_seconds": round(age.total_seconds(), 1)}


def _made_at(report: Report) -> datetime:
    at = report.get("generated_at") or report["last_updated"]
    return datetime.fromisoformat(at) if isinstance(at, str) else at


def _from_redis(name: str) -> Report | None:
    try:
        text = cache.kept_report(name)
    except cache.CacheError:
        return None
    return dict(json.loads(text)) if text else None


def keep_reports() -> None:
    """Keep all reports in Redis, for processes that have not made them before PostgreSQL goes away."""
    made = {name: json.dumps(compute(), cls=JSONEncoder) for name, compute in _ALL.items()}
    try:
        cache.keep_reports(made)
    except cache.CacheError as error:
        logger.warning("reports not kept in Redis", extra={"event": "reports_not_kept", "error": str(error)})


def forget() -> None:
    """Start as a new process does."""
    global _refuses_until  # noqa: PLW0603 (as above)
    _kept.clear()
    _refuses_until = 0.0
