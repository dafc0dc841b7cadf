import logging

from celery import shared_task
from django.conf import settings

from config.lib import sql
from profiles.max_api.client import MaxError
from webhooks import retention, subscription

_LOCK = 0x73756273  # "subs"

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def prune_inbox() -> None:
    pruned = retention.prune()
    if any(pruned):
        logger.info("inbox pruned", extra={"event": "inbox_pruned", **pruned._asdict()})


@shared_task(
    ignore_result=True, autoretry_for=(MaxError,), retry_backoff=60, retry_backoff_max=3600,
    max_retries=5,
)  # fmt: skip
def check_subscription() -> None:
    """Log the problems with our subscription at MAX, and repair it if WEBHOOK_AUTO_RESUBSCRIBE is set."""
    problems = subscription.subscription_problems()
    for problem in problems:
        logger.error("MAX subscription differs", extra={"event": problem.event, "result": str(problem)})
    if not (problems and settings.WEBHOOK_AUTO_RESUBSCRIBE):
        return
    # Two repairs at once would subscribe twice.
    with sql.try_lock(_LOCK) as has_lock:
        if not has_lock:
            return
        url = subscription.canonical(settings.WEBHOOK_PUBLIC_URL)
        for line in subscription.repair(subscription.subscriptions(), url, subscription.our_hosts()):
            logger.info("subscription repaired", extra={"event": "subscription_restored", "result": line})
