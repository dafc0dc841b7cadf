from celery import shared_task

from monitoring import conductor, figures


@shared_task(ignore_result=True)
def conduct_rollout() -> list[str]:
    return conductor.conduct()


@shared_task(ignore_result=True)
def refresh_figures() -> None:
    figures.refresh_all()
