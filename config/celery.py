import os
from typing import Any

from celery import Celery
from celery.concurrency import prefork
from celery.signals import (
    beat_embedded_init,
    beat_init,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
)

from config.lib import request_id

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("directory")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@task_prerun.connect
def name_task(task_id: str = "", **_: object) -> None:
    request_id.begin(task_id)


@worker_process_init.connect
def report_child(**_: object) -> None:
    """Beat in the process that runs the tasks; a thread of its parent would not survive the fork."""
    _tell("worker")


@worker_process_shutdown.connect
def stop_heartbeat(**_: object) -> None:
    """Say goodbye here: Celery's children end without anything that Python would do at an exit."""
    from profiles.rollout.heartbeat import heartbeat_thread  # noqa: PLC0415 (models can be imported only now)

    heartbeat_thread.stop()


@worker_ready.connect
def report_worker(sender: Any, **_: object) -> None:
    """Beat in the worker itself where it runs the tasks: in the pools of threads, and in the solo pool."""
    if not isinstance(sender.pool, prefork.TaskPool):
        _tell("worker")


@beat_init.connect
@beat_embedded_init.connect
def report_scheduler(**_: object) -> None:
    _tell("beat")


@beat_init.connect
@beat_embedded_init.connect
def check_alerts_at_once(**_: object) -> None:
    """Have the alerts checked at the start: beat's first round comes an interval later, and till then nobody knows."""
    check = app.conf.beat_schedule["monitoring.tasks.check_alerts"]
    app.send_task(check["task"], retry=False, **check["options"])


def _tell(kind: str) -> None:
    from profiles.rollout.heartbeat import heartbeat_thread  # noqa: PLC0415 (models can be imported only now)

    heartbeat_thread.start(kind)
