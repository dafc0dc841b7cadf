import os
from typing import Any

from celery import Celery, signals
from celery.concurrency import prefork

from config.lib import request_id

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("directory")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.task_prerun.connect
def begin_request_id(task_id: str = "", **_: object) -> None:
    request_id.begin(task_id)


@signals.worker_process_init.connect
def start_child(**_: object) -> None:
    """Start the heartbeat in each child process of the worker: a thread of the parent would not survive the fork."""
    _start_heartbeat("worker")


@signals.worker_ready.connect
def start_worker(sender: Any, **_: object) -> None:
    """Start the heartbeat in the worker's main process if that process runs the tasks (thread and solo pools)."""
    if not isinstance(sender.pool, prefork.TaskPool):
        _start_heartbeat("worker")


@signals.worker_process_shutdown.connect
def stop_heartbeat(**_: object) -> None:
    """Stop the heartbeat explicitly, because Celery's child processes do not run Python's exit handlers."""
    from profiles.rollout.heartbeat import heartbeat_thread  # noqa: PLC0415 (models can be imported only now)

    heartbeat_thread.stop()


@signals.beat_init.connect
@signals.beat_embedded_init.connect
def start_scheduler(**_: object) -> None:
    """Start beat's heartbeat and check the alerts at once: beat would first check them after a full interval."""
    _start_heartbeat("beat")
    check = app.conf.beat_schedule["monitoring.tasks.check_alerts"]
    app.send_task(check["task"], retry=False, **check["options"])


def _start_heartbeat(kind: str) -> None:
    from profiles.rollout.heartbeat import heartbeat_thread  # noqa: PLC0415 (models can be imported only now)

    heartbeat_thread.start(kind)
