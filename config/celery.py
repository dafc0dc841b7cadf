import os

from celery import Celery
from celery.signals import worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("directory")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_process_init.connect
def tell_revision(**_: object) -> None:
    """Beat in the process that runs the tasks; a thread of its parent would not survive the fork."""
    from profiles.rollout.heartbeat import pulse  # noqa: PLC0415 (models can be imported only now)

    pulse.start("worker")
