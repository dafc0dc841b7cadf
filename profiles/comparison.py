"""The shadow comparison: after a lookup was answered, the worker holds the cache against the direct API.

The request writes one row and goes on. Names are kept masked and phones hashed; what has to be asked waits under a
rate limit of its own, so that comparing never competes with answering.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac
from prometheus_client import Counter

from profiles import cache, names
from profiles.cache import CachedProfile
from profiles.max_api import users
from profiles.max_api.client import MaxError
from profiles.models import (
    Comparison,
    ComparisonOutcome,
    Pattern,
    PhoneLink,
    ProfileSource,
    WaitingComparison,
)
from profiles.rollout.decision import bucket, current_state
from profiles.rollout.phases import PHASES, SHADOW

COMPARED_STAGES = (2, 3)
CALLS_PER_SECOND = 5.0
KEPT_WAITING = timedelta(minutes=15)
_SLICE = 20

outcomes = Counter("comparisons", "Lookups compared, by outcome", ["outcome"])
dropped = Counter("comparisons_dropped", "Lookups that waited too long to be compared")
logger = logging.getLogger(__name__)


def offer(
    *, phone: str, max_id: str | None, university_id: int | None, stage: int, source: str, name: str, seconds: float
) -> None:
    """Leave a lookup to be compared; costs the request one INSERT and never fails it."""
    if stage not in COMPARED_STAGES or not settings.MAX_BOT_TOKEN or not current_state().admits(SHADOW, phone):
        return
    waiting = WaitingComparison(
        phone=phone,
        max_id=max_id or "",
        university_id=university_id,
        stage=stage,
        served_source=source,
        served_ms=seconds * 1000,
        api_name=name if source == ProfileSource.API else "",
    )
    try:
        with transaction.atomic():
            waiting.save(force_insert=True)
    except DatabaseError as error:
        logger.warning("comparison not left", extra={"event": "comparison_lost", "error": type(error).__name__})


def compare_waiting(seconds: float, pause: Callable[[float], None] = time.sleep) -> int:
    """Compare what waits, for at most so long and one call; return how many were compared."""
    late, _ = WaitingComparison.objects.filter(asked_at__lt=timezone.now() - KEPT_WAITING).delete()
    if late:
        dropped.inc(late)
        logger.warning("comparisons dropped", extra={"event": "comparisons_dropped", "count": late})
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline and (slice_ := _take()):
        done: list[Comparison] = []
        while slice_ and time.monotonic() < deadline:
            waiting = slice_.pop(0)
            done.append(compare(waiting))
            if not waiting.api_name and slice_:
                pause(1 / CALLS_PER_SECOND)
        Comparison.objects.bulk_create(done)
        for comparison in done:
            outcomes.labels(comparison.outcome).inc()
        WaitingComparison.objects.bulk_create(slice_)
        count += len(done)
    return count


@transaction.atomic
def _take() -> list[WaitingComparison]:
    taken = list(WaitingComparison.objects.order_by("pk").select_for_update(skip_locked=True)[:_SLICE])
    WaitingComparison.objects.filter(pk__in=[waiting.pk for waiting in taken]).delete()
    return taken


@dataclass(frozen=True, slots=True)
class Answers:
    """What the two sides said: ``failure`` is the outcome when one of them said nothing."""

    cached: CachedProfile | None = None
    api_name: str = ""
    failure: ComparisonOutcome | None = None


def compare(waiting: WaitingComparison) -> Comparison:
    answers = _ask_both(waiting)
    outcome, pattern = answers.failure or judge(answers.cached, answers.api_name), ""
    cached = answers.cached
    if outcome == ComparisonOutcome.CONFLICT and cached:
        pattern = pattern_of(_max_name(cached), answers.api_name)
    elif outcome == ComparisonOutcome.CACHE_STALE and cached:
        pattern = judge_names(_max_name(cached), answers.api_name)
    age = timezone.now() - cached.last_updated if cached and cached.last_updated else None
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
        api_name=masked(answers.api_name),
        served_source=waiting.served_source,
        served_ms=waiting.served_ms,
    )


def hash_of(phone: str) -> str:
    return salted_hmac("profiles.comparison", phone, algorithm="sha256").hexdigest()[:32]


def _ask_both(waiting: WaitingComparison) -> Answers:
    api_name, max_id = waiting.api_name, waiting.max_id
    if not api_name:
        try:
            user = users.fetch_users([waiting.phone]).get(waiting.phone)
        except MaxError as error:
            return Answers(failure=ComparisonOutcome.TIMEOUT if error.is_timeout else ComparisonOutcome.API_ERROR)
        api_name = f"{user.first_name} {user.last_name}".strip() if user else ""
        max_id = max_id or (user.user_id if user else "")
    max_id = max_id or PhoneLink.objects.user_of(waiting.phone) or ""
    if not max_id:
        return Answers(None, api_name)
    stored = cache.find(max_id)
    if stored.redis_error:
        return Answers(None, api_name, ComparisonOutcome.CACHE_ERROR)
    return Answers(stored.profile, api_name)


def _max_name(cached: CachedProfile) -> str:
    return f"{cached.max_first_name} {cached.max_last_name}".strip()


def judge(cached: CachedProfile | None, api_name: str) -> ComparisonOutcome:
    """Return the outcome of two answers. A name that the person chose is richer than any of MAX's, never a conflict."""
    has_name = cached is not None and not _is_empty(cached.display_name)
    if cached is None or not has_name:
        return ComparisonOutcome.BOTH_EMPTY if _is_empty(api_name) else ComparisonOutcome.CACHE_MISS
    if cached.user_provided_name:
        same = judge_names(cached.user_provided_name, api_name)
        is_same = same in (ComparisonOutcome.AGREE, ComparisonOutcome.EQUIVALENT)
        return same if is_same else ComparisonOutcome.CACHE_RICHER
    return ComparisonOutcome.CACHE_STALE if cached.is_stale else judge_names(_max_name(cached), api_name)


def judge_names(cache_name: str, api_name: str) -> ComparisonOutcome:
    if _is_empty(cache_name) and _is_empty(api_name):
        # Two placeholders say nothing of each other.
        return ComparisonOutcome.BOTH_EMPTY
    if cache_name == api_name:
        return ComparisonOutcome.AGREE
    mine, theirs = _words(cache_name), _words(api_name)
    if mine == theirs:
        return ComparisonOutcome.EQUIVALENT
    if mine > theirs:
        return ComparisonOutcome.CACHE_RICHER
    return ComparisonOutcome.API_RICHER if mine < theirs else ComparisonOutcome.CONFLICT


def _is_empty(name: str) -> bool:
    return not _words(name)


def _words(name: str) -> frozenset[str]:
    """Return a name's words without what does not tell people apart: case, ё, spaces, order, the placeholder."""
    words = name.casefold().replace("ё", "е").split()
    return frozenset(words) - {names.UNKNOWN.casefold()}


def pattern_of(cache_name: str, api_name: str) -> Pattern:
    if cache_name.isascii() != api_name.isascii():
        return Pattern.SCRIPT
    mine, theirs = cache_name.casefold().split(), api_name.casefold().split()
    if mine[0] == theirs[0]:
        return Pattern.LAST_NAME
    return Pattern.FIRST_NAME if mine[-1] == theirs[-1] else Pattern.BOTH_NAMES


def masked(name: str) -> str:
    """Return the first letter of each word: И… П…"""
    return " ".join(f"{word[0]}…" for word in name.split()[:10])
