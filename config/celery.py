import os

from celery import Celery
from celery.signals import task_prerun, worker_process_init

from config import request_id

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("directory")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@task_prerun.connect
def name_task(task_id: str = "", **_: object) -> None:
    request_id.begin(task_id)


@worker_process_init.connect
def tell_revision(**_: object) -> None:
    """Beat in the process that runs the tasks; a thread of its parent would not survive the fork."""
    from profiles.rollout.heartbeat import pulse  # noqa: PLC0415 (models can be imported only now)

    pulse.start("worker")
