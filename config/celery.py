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
    """Start the heartbeat in the process that runs the tasks; a thread of its parent would not survive the fork."""
    _start_heartbeat("worker")


@signals.worker_ready.connect
def start_worker(sender: Any, **_: object) -> None:
    """Start the heartbeat in the worker itself where it runs the tasks: in pools of threads and the solo pool."""
    if not isinstance(sender.pool, prefork.TaskPool):
        _start_heartbeat("worker")


@signals.worker_process_shutdown.connect
def stop_heartbeat(**_: object) -> None:
    """Stop the heartbeat here: Celery's children run no exit handlers of Python."""
    from profiles.rollout.heartbeat import heartbeat_thread  # noqa: PLC0415 (models can be imported only now)

    heartbeat_thread.stop()


@signals.beat_init.connect
@signals.beat_embedded_init.connect
def start_scheduler(**_: object) -> None:
    """Start the heartbeat, and check the alerts now: beat itself would do it only after an interval."""
    _start_heartbeat("beat")
    check = app.conf.beat_schedule["monitoring.tasks.check_alerts"]
    app.send_task(check["task"], retry=False, **check["options"])


def _start_heartbeat(kind: str) -> None:
    from profiles.rollout.heartbeat import heartbeat_thread  # noqa: PLC0415 (models can be imported only now)

    heartbeat_thread.start(kind)
