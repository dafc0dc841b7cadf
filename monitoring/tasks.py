from celery import shared_task

from monitoring import census, conductor, figures, kept, lasting, snapshots, traffic
from monitoring.alerts import outbox, watch
from monitoring.indicators import rounds


@shared_task(ignore_result=True)
def conduct_rollout() -> list[str]:
    return conductor.conduct()


@shared_task(ignore_result=True)
def measure_indicators() -> None:
    rounds.take_round()


@shared_task(ignore_result=True)
def check_alerts() -> None:
    watch.check_alerts()
    outbox.deliver()


@shared_task(ignore_result=True)
def deliver_alerts() -> None:
    outbox.deliver()


@shared_task(ignore_result=True)
def fold_traffic() -> None:
    traffic.fold()


@shared_task(ignore_result=True)
def take_census() -> None:
    with kept.alone() as is_alone:
        if is_alone:
            census.take()
            lasting.keep_reports()
            figures.refresh_due()


@shared_task(ignore_result=True)
def take_snapshots() -> None:
    snapshots.take()
