from celery import shared_task

from monitoring import conductor
from monitoring.alerts import outbox, watch


@shared_task(ignore_result=True)
def conduct_rollout() -> list[str]:
    return conductor.conduct()


@shared_task(ignore_result=True)
def check_alerts() -> None:
    watch.check_alerts()
    outbox.deliver()


@shared_task(ignore_result=True)
def deliver_alerts() -> None:
    outbox.deliver()
