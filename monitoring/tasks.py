from celery import shared_task

from monitoring import conductor, figures, traffic


@shared_task(ignore_result=True)
def conduct_rollout() -> list[str]:
    return conductor.conduct()


@shared_task(ignore_result=True)
def refresh_figures() -> None:
    figures.refresh_all()


@shared_task(ignore_result=True)
def fold_traffic() -> None:
    traffic.fold()
