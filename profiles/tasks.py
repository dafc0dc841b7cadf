"""Keeps Redis equal to PostgreSQL: after a loss everything fresh is written again, after a failed write what failed."""

import logging

from celery import shared_task
from django.db import transaction

from profiles import cache, erasure
from profiles.comparison import compare_waiting
from profiles.max_api import users
from profiles.models import Profile

logger = logging.getLogger(__name__)

BATCH = 500
COMPARING_SECONDS = 10.0


@shared_task(ignore_result=True)
def refill_cache() -> int:
    """Return how many profiles were written to Redis; 0 while it is unreachable."""
    try:
        if not cache.needs_filling():
            return _write_behind()
        written = _write_all()
        cache.mark_filled()
    except cache.CacheError as error:
        logger.warning("cache refill postponed", extra={"event": "refill_postponed", "error": str(error)})
        return 0
    logger.info("cache refilled", extra={"event": "cache_refilled", "profiles": written})
    return written


@shared_task(ignore_result=True)
def forget_direct_answers() -> int:
    return users.forget_old()


@shared_task(ignore_result=True)
def finish_erasures() -> int:
    return erasure.finish_erasures()


@shared_task(ignore_result=True)
def compare_lookups() -> int:
    """Compare what waits, and leave the rest to the next round: the other tasks share this worker."""
    return compare_waiting(COMPARING_SECONDS)


def _write_all() -> int:
    written, last_id = 0, ""
    while batch := _write_batch(after=last_id):
        written += len(batch)
        last_id = batch[-1].user_id
    return written


@transaction.atomic
def _write_batch(*, after: str) -> list[Profile]:
    """Write the next fresh profiles under their row locks, so that no worker's newer version is overwritten."""
    batch = list(Profile.objects.fresh().filter(user_id__gt=after).order_by("user_id").select_for_update()[:BATCH])
    _write(batch)
    return batch


def _write_behind() -> int:
    written = 0
    while True:
        with transaction.atomic():
            behind = Profile.objects.filter(is_cache_behind=True).order_by("user_id")
            batch = list(behind.select_for_update(skip_locked=True)[:BATCH])
            _write(batch)
        written += len(batch)
        if len(batch) < BATCH:
            return written


def _write(batch: list[Profile]) -> None:
    cache.write(batch)
    Profile.objects.filter(pk__in=[profile.pk for profile in batch], is_cache_behind=True).update(is_cache_behind=False)
