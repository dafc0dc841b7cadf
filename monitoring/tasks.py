from celery import shared_task

from monitoring import conductor


@shared_task(ignore_result=True)
def conduct_rollout() -> list[str]:
    return conductor.conduct()
