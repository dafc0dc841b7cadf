import os
import time
from datetime import timedelta
from typing import Any

from celery import Celery, Task, signals
from celery.concurrency import prefork
from celery.exceptions import Ignore, SoftTimeLimitExceeded

from config.lib import request_id, tracing

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# A task is skipped if this process started it less than this share of the interval ago. The share is below 1, because
# the scheduler has some jitter.
_TOO_SOON = 0.5


class PeriodicTask(Task[Any, Any]):
    """Run the task at most once per interval in each process, even if its messages have piled up in the queue."""

    _started_at: float | None = None

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        interval = app.conf.beat_schedule.get(self.name, {}).get("schedule")
        if isinstance(interval, timedelta):
            now = time.monotonic()
            if self._started_at is not None and now - self._started_at < interval.total_seconds() * _TOO_SOON:
                raise Ignore
            self._started_at = now


app = Celery("directory", task_cls=PeriodicTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.celeryd_init.connect
def tolerate_damaged_messages(**_: object) -> None:
    from config import broker  # noqa: PLC0415 (only the worker needs it)

    broker.install()


@signals.task_prerun.connect
def begin_request_id(task_id: str = "", **_: object) -> None:
    request_id.begin(task_id)


@signals.worker_process_init.connect
def start_child(**_: object) -> None:
    """Start the heartbeat in each child process of the worker: a thread of the parent would not survive the fork."""
    _start_worker()


@signals.worker_ready.connect
def start_worker(sender: Any, **_: object) -> None:
    """Start the heartbeat in the worker's main process if that process runs the tasks (thread and solo pools)."""
    if not isinstance(sender.pool, prefork.TaskPool):
        _start_worker()


def _start_worker() -> None:
    from config.postgres import locks  # noqa: PLC0415 (the settings can be read only now)

    tracing.start("worker")
    locks.limit_lock_waits()
    # Without a limit, each task would wait while a standby is lost, and the one worker could not check the alerts.
    locks.limit_commits()
    _start_heartbeat("worker")


@signals.task_failure.connect
def close_interrupted_connection(exception: BaseException | None = None, **_: object) -> None:
    """Close the database connection if the time limit interrupted a statement: the connection is unusable then."""
    from django.db import connection  # noqa: PLC0415 (the settings can be read only now)

    if isinstance(exception, SoftTimeLimitExceeded):
        connection.close()


@signals.worker_process_shutdown.connect
def stop_heartbeat(**_: object) -> None:
    """Stop the heartbeat and tracing: Celery's child processes do not run Python's exit handlers."""
    from profiles.rollout.heartbeat import heartbeat_thread  # noqa: PLC0415 (models can be imported only now)

    heartbeat_thread.stop()
    tracing.stop()


@signals.beat_init.connect
@signals.beat_embedded_init.connect
def start_scheduler(**_: object) -> None:
    """Start the heartbeat of this beat process, and queue a check of the alerts at once.

    Every beat process queues this check when it starts. Scheduled tasks are sent only by the beat process that holds
    the scheduler's lock.
    """
    _start_heartbeat("beat")
    check = app.conf.beat_schedule["monitoring.tasks.check_alerts"]
    app.send_task(check["task"], retry=False, **check["options"])


def _start_heartbeat(kind: str) -> None:
    from profiles.rollout.heartbeat import heartbeat_thread  # noqa: PLC0415 (models can be imported only now)

    heartbeat_thread.start(kind)
