import logging

from celery import shared_task

from webhooks import pruning

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def prune_inbox() -> None:
    pruned = pruning.prune()
    if any(pruned):
        logger.info("inbox pruned", extra={"event": "inbox_pruned", **pruned._asdict()})
