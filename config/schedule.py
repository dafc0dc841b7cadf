"""The schedule of the periodic tasks."""

from datetime import UTC, datetime, timedelta
from typing import Any

from celery.schedules import crontab

_SECONDS, _MINUTES = timedelta(seconds=1), timedelta(minutes=1)
# As long as a day, because the clocks of the scheduler and of a worker may differ by hours. Messages that have piled up
# are skipped by another rule: the time since the last run of their task (config.celery).
_EXPIRES = timedelta(days=1)
# Of Celery's priorities over Redis, 0 is the first. After a backlog or a step of the clock, all tasks are due at once,
# and the alerts are to be checked before the others.
_FIRST, _LATER = 0, 9
# A scheduler that starts or takes over does not know when a task was last sent, so it sends all of them.
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_ROUNDS = {
    "profiles.tasks.refill_cache": 3 * _SECONDS,
    "profiles.tasks.compare_lookups": 5 * _SECONDS,
    "profiles.tasks.forget_direct_answers": 5 * _MINUTES,
    "profiles.tasks.finish_erasures": 10 * _SECONDS,
    "employees.tasks.work_on_jobs": 5 * _SECONDS,
    "employees.tasks.retry_unresolved": 15 * _SECONDS,
    "employees.tasks.forget_prior_values": 60 * _MINUTES,
    "employees.tasks.forget_import_files": 10 * _MINUTES,
    "employees.tasks.forget_idempotent_requests": 60 * _MINUTES,
    "webhooks.tasks.prune_inbox": 15 * _SECONDS,
    "monitoring.tasks.measure_indicators": 30 * _SECONDS,
    "monitoring.tasks.conduct_rollout": 15 * _SECONDS,
    "monitoring.tasks.fold_traffic": 10 * _SECONDS,
    "monitoring.tasks.take_census": 10 * _SECONDS,
    "monitoring.tasks.deliver_alerts": 10 * _SECONDS,
}


def schedule(alerts_every: timedelta) -> dict[str, dict[str, Any]]:
    """Return the beat schedule, in which alerts are checked at the given interval."""
    rounds = {"monitoring.tasks.check_alerts": alerts_every} | _ROUNDS
    entries: dict[str, dict[str, Any]] = {
        task: {
            "task": task,
            "schedule": interval,
            "options": {"expires": _EXPIRES.total_seconds(), "priority": _LATER if task in _ROUNDS else _FIRST},
        }
        for task, interval in rounds.items()
    }
    # 5:00 UTC is 8:00 in Moscow, before users start work and need names.
    daily = {"webhooks.tasks.check_subscription": "5", "employees.credentials.tasks.prune": "1"}
    entries |= {
        task: {"task": task, "schedule": crontab(hour=hour, minute="0"), "options": {"priority": _LATER}}
        for task, hour in daily.items()
    }
    return {task: entry | {"last_run_at": _LONG_AGO} for task, entry in entries.items()}
