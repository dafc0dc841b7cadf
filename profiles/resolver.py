"""Look up an employee's name: request, profile cache, direct API, or nobody (docs/reference/names.md)."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from prometheus_client import Counter, Histogram

from profiles import cache, comparison, direct_answers, names
from profiles.cache import CachedProfile, CacheError
from profiles.direct_api import DirectApiError
from profiles.models import PhoneLink, Profile, ProfileSource
from profiles.phones import masked
from profiles.rollout.decision import decide

resolutions = Counter("name_resolutions", "Names resolved for employees", ["source", "stage"])
durations = Histogram(
    "name_resolution_duration_seconds",
    "Lookups of a name for an employee",
    ["stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10),
)
logger = logging.getLogger(__name__)

CACHE_FIRST = 3
CACHE_PRIMARY = 4


@dataclass(frozen=True, slots=True)
class Resolution:
    """A name with who answered for it. ``updated_at`` is None for ``manual`` and ``default``.

    ``is_unresolved``: the direct API had to be asked and gave no answer, so that a later try may know more.
    """

    first_name: str = names.UNKNOWN
    last_name: str = names.UNKNOWN
    middle_name: str = ""
    max_id: str | None = None
    source: ProfileSource = ProfileSource.DEFAULT
    updated_at: datetime | None = None
    is_unresolved: bool = False


def resolve(
    *, phone: str, max_id: str | None, first_name: str = "", last_name: str = "", university_id: int | None = None
) -> Resolution:
    """Return the name to store for a new employee; never raises for an outage of Redis or the direct API.

    Names given in the request hold; a lone one is kept and the missing part looked up.
    """
    if first_name and last_name:
        return Resolution(first_name, last_name, "", max_id, ProfileSource.MANUAL)
    found = _answered(phone, max_id, university_id)
    if not first_name and not last_name:
        return found
    return replace(
        found,
        first_name=first_name or found.first_name,
        last_name=last_name or found.last_name,
        source=ProfileSource.MANUAL,
        updated_at=None,
    )


def _answered(phone: str, max_id: str | None, university_id: int | None) -> Resolution:
    """Ask whom the person's stage asks, and leave the lookup to be compared afterwards."""
    stage = decide(phone, university_id).stage
    started = time.perf_counter()
    found = _BY_STAGE.get(stage, _ask_direct_api)(phone, max_id)
    durations.labels(stage).observe(time.perf_counter() - started)
    resolutions.labels(found.source, stage).inc()
    comparison.offer(
        phone=phone,
        max_id=found.max_id,
        university_id=university_id,
        stage=stage,
        source=found.source,
        name=f"{found.first_name} {found.last_name}".strip(),
        seconds=time.perf_counter() - started,
    )
    return found


def _look_up(phone: str, max_id: str | None) -> Resolution:
    max_id = max_id or PhoneLink.objects.user_of(phone)
    cached = _from_cache(max_id) if max_id else None
    if cached and _is_complete(cached):
        return _named(cached)
    direct = _ask_direct_api(phone, max_id)
    if not max_id and direct.max_id:
        cached = _from_cache(direct.max_id)
        if cached and _is_complete(cached):
            return _named(cached)
    # A partial name from the cache beats nothing, and yields to a full one of the direct API.
    if cached and not (direct.source == ProfileSource.API and direct.last_name):
        return _named(cached)
    return direct


def _look_up_stores(phone: str, max_id: str | None) -> Resolution:
    """Ask the direct API only for a person whom no store knows; age, gaps and faults of the cache are no reason."""
    max_id = max_id or PhoneLink.objects.user_of(phone)
    known = _cached(max_id) if max_id else None
    if known and known.display_name:
        return _named(known)
    if max_id and not _is_absent(max_id):
        return Resolution(max_id=max_id)
    direct = _ask_direct_api(phone, max_id)
    if not max_id and direct.max_id and (known := _cached(direct.max_id)) and known.display_name:
        return _named(known)
    return direct


def known(phone: str, max_id: str | None) -> Resolution | None:
    """Return the name that the stores have for a person, by the rule of phase 3; nobody outside is asked."""
    max_id = max_id or PhoneLink.objects.user_of(phone)
    cached = _from_cache(max_id) if max_id else None
    return _named(cached) if cached else None


def _is_absent(max_id: str) -> bool:
    """Tell whether the record surely has nothing of the person; one that cannot be read is no proof."""
    try:
        with transaction.atomic():
            return not Profile.objects.filter(user_id=max_id).exists()
    except DatabaseError:
        return False


def _from_cache(max_id: str) -> CachedProfile | None:
    """Return what may be served of the person: fresh, and with at least a first name or an own name."""
    profile = _cached(max_id)
    if profile is None:
        return None
    if profile.is_stale:
        # An own name does not expire; a MAX name does.
        profile = replace(profile, max_first_name="", max_last_name="")
    return profile if profile.user_provided_name or profile.max_first_name else None


def _cached(max_id: str) -> CachedProfile | None:
    try:
        if profile := cache.read(max_id):
            return profile
    except CacheError as error:
        logger.warning("profile cache unreachable", extra={"event": "cache_read_failed", "error": str(error)})
    return _from_record(max_id)


def _from_record(max_id: str) -> CachedProfile | None:
    """Read PostgreSQL, the record behind the cache, and refill what Redis has lost."""
    profile = _recorded(max_id)
    if profile is None:
        return None
    try:
        cache.refill(profile)
    except CacheError:
        # Redis is down or full: the answer does not depend on it, and the refill task tries again.
        logger.debug("refill on read failed", extra={"event": "cache_refill_failed"})
    return CachedProfile.of(profile)


def _recorded(max_id: str) -> Profile | None:
    """Read the row under what PROFILE_CACHE_TIMEOUT leaves after the two waits for Redis; None when that fails."""
    budget_ms = int((settings.PROFILE_CACHE_TIMEOUT / 3).total_seconds() * 1000)
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(max(budget_ms, 1))])
            return Profile.objects.filter(user_id=max_id).first()
    except DatabaseError as error:
        logger.warning(
            "profile record unreadable", extra={"event": "record_read_failed", "error": type(error).__name__}
        )
        return None


def _is_complete(profile: CachedProfile) -> bool:
    """Tell whether nothing is missing. Redis shows an unknown and an absent last name alike, so PostgreSQL decides."""
    if profile.has_full_name or not settings.MAX_BOT_TOKEN:
        return True
    return Profile.objects.filter(user_id=profile.user_id, last_name="").exists()


def _named(profile: CachedProfile) -> Resolution:
    if profile.user_provided_name:
        first, last, middle = names.split(profile.user_provided_name)
        source = ProfileSource.USER_INPUT
    else:
        first, last, middle = profile.max_first_name, profile.max_last_name, ""
        source = ProfileSource.WEBHOOK
    return Resolution(first, last, middle, profile.user_id, source, profile.last_updated)


def _ask_direct_api(phone: str, max_id: str | None) -> Resolution:
    """Ask the direct API, or return the unknown name with what is known of the MAX id."""
    unknown = Resolution(max_id=max_id)
    if not settings.MAX_BOT_TOKEN:
        return unknown
    try:
        user = direct_answers.find_user(phone)
    except DirectApiError as error:
        logger.warning(
            "direct API failed", extra={"event": "direct_api_failed", "phone": masked(phone), "error": str(error)}
        )
        return replace(unknown, is_unresolved=True)
    if user is None:
        return unknown
    if not user.first_name:
        return replace(unknown, max_id=max_id or user.user_id)
    return Resolution(user.first_name, user.last_name, "", max_id or user.user_id, ProfileSource.API, timezone.now())


_BY_STAGE = {CACHE_FIRST: _look_up, CACHE_PRIMARY: _look_up_stores}
