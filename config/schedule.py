"""What beat starts, and how often."""

from datetime import timedelta
from typing import Any

from celery.schedules import crontab


def schedule(alerts_every: timedelta) -> dict[str, dict[str, Any]]:
    """Return the beat schedule; alerts are checked as often as the settings say."""
    seconds, minutes = timedelta(seconds=1), timedelta(minutes=1)
    rounds = {
        "profiles.tasks.refill_cache": 15 * seconds,
        "profiles.tasks.compare_lookups": 5 * seconds,
        "profiles.tasks.forget_direct_answers": 5 * minutes,
        "profiles.tasks.finish_erasures": minutes,
        "employees.tasks.work_on_jobs": 5 * seconds,
        "employees.tasks.retry_unresolved": 15 * seconds,
        "employees.tasks.forget_prior_values": 60 * minutes,
        "employees.tasks.forget_idempotent_requests": 60 * minutes,
        "webhooks.tasks.prune_inbox": minutes,
        "webhooks.tasks.check_backlog": minutes,
        "webhooks.tasks.check_silence": 15 * minutes,
        "monitoring.tasks.conduct_rollout": 15 * seconds,
        "monitoring.tasks.fold_traffic": 10 * seconds,
        "monitoring.tasks.take_census": 10 * seconds,
        "monitoring.tasks.take_snapshots": 5 * minutes,
        "monitoring.tasks.check_alerts": alerts_every,
        "monitoring.tasks.deliver_alerts": 10 * seconds,
    }
    # A round that found no worker in time is not made up for: the next one does its work.
    entries: dict[str, dict[str, Any]] = {
        task: {"task": task, "schedule": interval, "options": {"expires": interval.total_seconds()}}
        for task, interval in rounds.items()
    }
    # 8:00 in Moscow: before anybody waits for a name.
    daily = "webhooks.tasks.check_subscription"
    return entries | {daily: {"task": daily, "schedule": crontab(hour="5", minute="0")}}
