"""The schedule of the periodic tasks."""

from datetime import timedelta
from typing import Any

from celery.schedules import crontab

_SECONDS, _MINUTES = timedelta(seconds=1), timedelta(minutes=1)
_ROUNDS = {
    "profiles.tasks.refill_cache": 3 * _SECONDS,
    "profiles.tasks.compare_lookups": 5 * _SECONDS,
    "profiles.tasks.forget_direct_answers": 5 * _MINUTES,
    "profiles.tasks.finish_erasures": _MINUTES,
    "employees.tasks.work_on_jobs": 5 * _SECONDS,
    "employees.tasks.retry_unresolved": 15 * _SECONDS,
    "employees.tasks.forget_prior_values": 60 * _MINUTES,
    "employees.tasks.forget_idempotent_requests": 60 * _MINUTES,
    "webhooks.tasks.prune_inbox": _MINUTES,
    "monitoring.tasks.measure_indicators": 30 * _SECONDS,
    "monitoring.tasks.conduct_rollout": 15 * _SECONDS,
    "monitoring.tasks.fold_traffic": 10 * _SECONDS,
    "monitoring.tasks.take_census": 10 * _SECONDS,
    "monitoring.tasks.deliver_alerts": 10 * _SECONDS,
}


def schedule(alerts_every: timedelta) -> dict[str, dict[str, Any]]:
    """Return the beat schedule, in which alerts are checked at the given interval."""
    rounds = _ROUNDS | {"monitoring.tasks.check_alerts": alerts_every}
    # A task that no worker has started within its interval expires; the next one does its work.
    entries: dict[str, dict[str, Any]] = {
        task: {"task": task, "schedule": interval, "options": {"expires": interval.total_seconds()}}
        for task, interval in rounds.items()
    }
    # 5:00 UTC is 8:00 in Moscow, before users start work and need names.
    daily = {"webhooks.tasks.check_subscription": "5", "employees.credentials.tasks.prune": "1"}
    return entries | {task: {"task": task, "schedule": crontab(hour=hour, minute="0")} for task, hour in daily.items()}
