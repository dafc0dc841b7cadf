from celery import shared_task

from config.lib import sql
from config.postgres.base import without_standby
from monitoring.alerts import engine, outbox
from monitoring.indicators import rounds
from monitoring.rollout_control import controller
from monitoring.stats import cached, rollups


@shared_task(ignore_result=True)
def conduct_rollout() -> list[str]:
    return controller.run()


# These tasks must not wait for a lost standby, because they measure and report that the standby is lost.
@shared_task(ignore_result=True)
def measure_indicators() -> None:
    with without_standby():
        rounds.take_round()


@shared_task(ignore_result=True)
def check_alerts() -> None:
    with without_standby():
        engine.check_alerts()
        outbox.deliver()


@shared_task(ignore_result=True)
def deliver_alerts() -> None:
    with without_standby():
        outbox.deliver()


@shared_task(ignore_result=True)
def fold_traffic() -> None:
    rollups.roll_up()


@shared_task(ignore_result=True, soft_time_limit=600, time_limit=630)
def take_census() -> None:
    with sql.try_lock(cached.LOCK) as has_lock:
        if has_lock:
            cached.take()
