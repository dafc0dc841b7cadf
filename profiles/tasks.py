"""Celery tasks that refill Redis from PostgreSQL, finish erasures, compare lookups and delete old data."""

import logging

from celery import shared_task
from django.db.models import QuerySet

from config.postgres.base import without_standby
from profiles import cache, restores
from profiles.comparison import compare_waiting
from profiles.max_api import users
from profiles.models import Profile
from profiles.personal_data import erasure

logger = logging.getLogger(__name__)

BATCH = 500
COMPARING_SECONDS = 4.0


# A full refill of millions of profiles takes minutes, and an interrupted refill would begin again.
# Nothing is acknowledged here, and what a failover loses is refilled again: a lost standby must not keep Redis empty.
@shared_task(ignore_result=True, soft_time_limit=1800, time_limit=1830)
@without_standby()
def refill_cache() -> int:
    """Write profiles from PostgreSQL to Redis; return the number of profiles written, or 0 if Redis fails.

    After a restart of Redis, delete its old entries first. If Redis has lost its content, write all fresh profiles;
    otherwise, write only the profiles whose last write failed.
    """
    written, last_id = 0, ""
    try:
        restores.remember_progress()
        cache.begin_generation()
        run_id = cache.needs_filling()
        is_empty = bool(run_id)
        profiles = Profile.objects.fresh() if is_empty else Profile.objects.filter(is_cache_behind=True)
        # Locked rows are skipped: the transaction that changes a row also writes it to Redis, and a missing entry is
        # refilled when it is read. Waiting for the locks would keep the cache off for everybody.
        while batch := _write_batch(profiles.filter(user_id__gt=last_id)):
            written += len(batch)
            last_id = batch[-1].user_id
        if is_empty:
            cache.mark_filled(run_id)
            logger.info("cache refilled", extra={"event": "cache_refilled", "profiles": written})
    except cache.CacheError as error:
        logger.warning("cache refill postponed", extra={"event": "refill_postponed", "error": str(error)})
        return 0
    return written


def _write_batch(profiles: QuerySet[Profile]) -> list[Profile]:
    with cache.refilling(profiles.order_by("user_id")[:BATCH]) as batch:
        ids = [profile.pk for profile in batch]
        Profile.objects.filter(pk__in=ids, is_cache_behind=True).update(is_cache_behind=False)
    return batch


@shared_task(ignore_result=True)
def forget_direct_answers() -> int:
    return users.delete_old_answers()


@shared_task(ignore_result=True)
def finish_erasures() -> int:
    return erasure.finish_erasures()


@shared_task(ignore_result=True)
def compare_lookups() -> int:
    """Run the waiting comparisons of lookups; return how many were run.

    Stop after a few seconds, because other tasks share this worker; the next run continues.
    """
    return compare_waiting(COMPARING_SECONDS)
