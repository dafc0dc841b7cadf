"""The shadow comparison: after a lookup, the task worker compares the name in the cache with the direct API's name.

The request itself only inserts one row. Names are stored masked and phones hashed. Comparisons have their own, lower
rate limit for the direct API, so that they do not slow lookups down.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.utils.crypto import salted_hmac
from prometheus_client import Counter

from config.lib import clock, sql
from profiles import cache, names
from profiles.cache.cached_profile import CachedProfile
from profiles.max_api import users
from profiles.max_api.client import MaxError
from profiles.models import Comparison, ComparisonOutcome, Pattern, PhoneLink, WaitingComparison
from profiles.rollout.decision import bucket, current_state
from profiles.rollout.phases import PHASES, SHADOW

COMPARED_STAGES = (2, 3)
CALLS_PER_SECOND = 5.0
DROPPED_AFTER = timedelta(minutes=15)
_BATCH = 20
_LOCK = 0x636F6D70617265  # "compare"
# For the last comparison and for storing the batch.
_SPARE_SECONDS = 30.0

outcomes = Counter("comparisons", "Lookups compared, by outcome", ["outcome"])
dropped = Counter("comparisons_dropped", "Lookups that waited too long to be compared")
logger = logging.getLogger(__name__)


def enqueue(lookup: WaitingComparison) -> None:
    """Store the lookup if it should be compared. A database error is only logged, so that the request does not fail."""
    is_compared = lookup.stage in COMPARED_STAGES and current_state().admits(SHADOW, lookup.phone)
    # A probe has no university, so its stage does not depend on a university rule.
    if not (is_compared and settings.MAX_BOT_TOKEN) or lookup.university_id is None:
        return
    try:
        with transaction.atomic():
            lookup.save(force_insert=True)
    except DatabaseError as error:
        logger.warning("comparison not stored", extra={"event": "comparison_lost", "error": type(error).__name__})


def compare_waiting(seconds: float, pause: Callable[[float], None] = time.sleep) -> int:
    """Compare waiting lookups, and start none after ``seconds``; return how many were compared.

    Lookups that have waited longer than DROPPED_AFTER are deleted first. Only one process compares at a time: return 0
    while another process does. If that process freezes, its lock is released _SPARE_SECONDS after ``seconds``.
    """
    _drop_old()
    deadline, count = time.monotonic() + seconds, 0
    if not WaitingComparison.objects.exists():
        return 0
    with sql.try_lock(_LOCK, longest_seconds=seconds + _SPARE_SECONDS) as has_lock:
        while has_lock and time.monotonic() < deadline and (batch := list(_next_batch())):
            done: list[tuple[int, Comparison]] = []
            for waiting in batch:
                if time.monotonic() >= deadline:
                    break
                done.append((waiting.pk, compare(waiting)))
                if not waiting.api_name and waiting != batch[-1]:
                    pause(1 / CALLS_PER_SECOND)
            count += _store(dict(done))
    return count


def _drop_old() -> None:
    # Count before the commit, because a commit that raises an error may be stored all the same.
    with transaction.atomic():
        old, _ = WaitingComparison.objects.filter(clock.is_older("asked_at", DROPPED_AFTER)).delete()
        if old:
            dropped.inc(old)
            logger.warning("comparisons dropped", extra={"event": "comparisons_dropped", "count": old})


def _next_batch() -> QuerySet[WaitingComparison]:
    return WaitingComparison.objects.order_by("pk")[:_BATCH]


@transaction.atomic
def _store(done: dict[int, Comparison]) -> int:
    """Store the comparisons and delete their lookups, whose IDs are the keys of ``done``; return how many were stored.

    Lookups that have been deleted since they were read, for example by an erasure, are left out. If storing fails, all
    lookups are compared again.
    """
    waiting = WaitingComparison.objects.filter(pk__in=done).select_for_update()
    ids = list(waiting.values_list("pk", flat=True))
    stored = Comparison.objects.bulk_create(done[pk] for pk in ids)
    WaitingComparison.objects.filter(pk__in=ids).delete()
    for comparison in stored:
        outcomes.labels(comparison.outcome).inc()
    return len(stored)


def compare(waiting: WaitingComparison) -> Comparison:
    cached, api_name, failure = _read_both(waiting)
    outcome, pattern = failure or classify(cached, api_name), ""
    if cached and outcome == ComparisonOutcome.CONFLICT:
        pattern = conflict_pattern(_max_name(cached), api_name)
    elif cached and outcome == ComparisonOutcome.CACHE_STALE:
        pattern = classify_names(_max_name(cached), api_name)
    age = clock.age(cached.last_updated) if cached and cached.last_updated else None
    return Comparison(
        at=waiting.asked_at,
        key_hash=hash_of(waiting.phone),
        bucket=bucket(current_state().salts.get(PHASES[2], ""), waiting.phone),
        university_id=waiting.university_id,
        stage=waiting.stage,
        outcome=outcome,
        pattern=pattern,
        cache_age_days=age / timedelta(days=1) if age else None,
        cache_name=masked(cached.display_name) if cached else "",
        api_name=masked(api_name),
        served_source=waiting.served_source,
        served_ms=waiting.served_ms,
    )


def hash_of(phone: str) -> str:
    return salted_hmac("profiles.comparison", phone, algorithm="sha256").hexdigest()[:32]


def _read_both(waiting: WaitingComparison) -> tuple[CachedProfile | None, str, ComparisonOutcome | None]:
    """Return the cached profile, the direct API's name, and the outcome to record if one of them cannot be read.

    The outcome is None if both were read.
    """
    api_name, max_id = waiting.api_name, waiting.max_id
    if not api_name:
        try:
            user = users.fetch_users([waiting.phone]).get(waiting.phone)
        except MaxError as error:
            return None, "", ComparisonOutcome.TIMEOUT if error.is_timeout else ComparisonOutcome.API_ERROR
        api_name = f"{user.first_name} {user.last_name}".strip() if user else ""
        max_id = max_id or (user.user_id if user else "")
    max_id = max_id or PhoneLink.objects.user_of(waiting.phone) or ""
    if not max_id:
        return None, api_name, None
    stored = cache.find(max_id)
    if stored.redis_error:
        return None, api_name, ComparisonOutcome.CACHE_ERROR
    return stored.profile, api_name, None


def _max_name(cached: CachedProfile) -> str:
    return f"{cached.max_first_name} {cached.max_last_name}".strip()


def classify(cached: CachedProfile | None, api_name: str) -> ComparisonOutcome:
    """Return the outcome of comparing the cached name with the direct API's name.

    If the cached name is user-provided and differs, the outcome is CACHE_RICHER, not CONFLICT.
    """
    if cached is None or not _words(cached.display_name):
        return ComparisonOutcome.CACHE_MISS if _words(api_name) else ComparisonOutcome.BOTH_EMPTY
    if cached.user_provided_name:
        outcome = classify_names(cached.user_provided_name, api_name)
        is_same = outcome in (ComparisonOutcome.AGREE, ComparisonOutcome.EQUIVALENT)
        return outcome if is_same else ComparisonOutcome.CACHE_RICHER
    return ComparisonOutcome.CACHE_STALE if cached.is_stale else classify_names(_max_name(cached), api_name)


def classify_names(cache_name: str, api_name: str) -> ComparisonOutcome:
    cached, direct = _words(cache_name), _words(api_name)
    if not cached and not direct:
        # Two placeholders do not count as agreement.
        return ComparisonOutcome.BOTH_EMPTY
    if cache_name == api_name:
        return ComparisonOutcome.AGREE
    if cached == direct:
        return ComparisonOutcome.EQUIVALENT
    if cached > direct:
        return ComparisonOutcome.CACHE_RICHER
    return ComparisonOutcome.API_RICHER if cached < direct else ComparisonOutcome.CONFLICT


def _words(name: str) -> frozenset[str]:
    """Return the set of words in a name, in lower case and with ё as е, without the placeholder “Неизвестно”."""
    return frozenset(name.casefold().replace("ё", "е").split()) - {names.UNKNOWN.casefold()}


def conflict_pattern(cache_name: str, api_name: str) -> Pattern:
    if cache_name.isascii() != api_name.isascii():
        return Pattern.SCRIPT
    cached, direct = cache_name.casefold().split(), api_name.casefold().split()
    if cached[0] == direct[0]:
        return Pattern.LAST_NAME
    return Pattern.FIRST_NAME if cached[-1] == direct[-1] else Pattern.BOTH_NAMES


def masked(name: str) -> str:
    """Return the first letter of each word, for at most ten words, such as И… П…"""
    return " ".join(f"{word[0]}…" for word in name.split()[:10])
