import logging

from celery import shared_task
from django.conf import settings

from profiles.max_api.client import MaxError
from webhooks import retention, subscription

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
    """Log the problems with our subscription at MAX, and subscribe again if WEBHOOK_AUTO_RESUBSCRIBE is set."""
    problems = subscription.subscription_problems()
    for problem in problems:
        logger.error("MAX subscription differs", extra={"event": problem.event, "result": str(problem)})
    if problems and settings.WEBHOOK_AUTO_RESUBSCRIBE:
        url = subscription.canonical(settings.WEBHOOK_PUBLIC_URL)
        stale = subscription.stale_in(subscription.subscriptions(), url, subscription.our_hosts())
        subscription.subscribe(url, replacing=stale)
        logger.info("subscribed again", extra={"event": "subscription_restored"})
