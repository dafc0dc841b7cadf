"""The rule for an employee's name: which name, who gave it and why. Pure: whoever names people reads and calls it.

Below stage 3 the direct API alone answers. From stage 3 on the cache answers first: a user-provided name at any age, a
name from MAX until it is ``PROFILE_TTL`` old; a partial name yields to a full one of the direct API. In stage 4 the
stores answer whatever the age and the gaps, and the direct API is asked only where they have no profile of the person.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from profiles import names
from profiles.models import ProfileSource

CACHE_FIRST = 3
CACHE_PRIMARY = 4


class NameReason(TextChoices):
    GIVEN = "given", _("it was given by hand")
    USER_PROVIDED = "user_provided", _("the person chose it")
    FRESH = "fresh", _("the cache has a fresh name from MAX")
    STORED = "stored", _("the cache has it, and in phase 4 its age does not matter")
    PARTIAL = "partial", _("the cache has only a part of the name")
    DIRECT_API = "direct_api", _("the direct API gave it")
    STALE = "stale", _("the cached name is older than PROFILE_TTL")
    NAMELESS = "nameless", _("the cached profile has no name")
    UNREADABLE = "unreadable", _("the profile could not be read")
    NOBODY_KNOWS = "nobody_knows", _("no store knows the person")
    NOT_ADMITTED = "not_admitted", _("the cache does not answer for this person")
    OUTAGE = "outage", _("the direct API did not answer")


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides beside the person: the rollout's stage (0 to 4), the life of a MAX name, a token to ask with."""

    stage: int
    profile_ttl: timedelta
    has_token: bool


@dataclass(frozen=True, slots=True)
class KnownProfile:
    """A stored profile. Names are ``""`` for none; a last name that is unknown is None."""

    first_name: str
    last_name: str | None
    user_provided_name: str
    last_updated: datetime | None


@dataclass(frozen=True, slots=True)
class Known:
    """What the stores have for a MAX id. No profile proves that there is none only where the stores could be read."""

    max_id: str | None = None
    profile: KnownProfile | None = None
    is_readable: bool = True


class NoAnswer(Enum):
    """No name from the direct API: it was not asked yet, did not answer, or MAX has nobody with this phone."""

    NOT_ASKED = "not asked"
    FAILED = "failed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class UserFound:
    """The person as the direct API knows them; names are ``""`` where it has none."""

    first_name: str
    last_name: str
    user_id: str | None


Answer = NoAnswer | UserFound


@dataclass(frozen=True, slots=True)
class NameChoice:
    """A name with its source and the reason. ``updated_at`` is None for ``manual`` and ``default``.

    ``needs_direct_api``: an answer of the direct API may still change it. ``is_unresolved``: the direct API had to be
    asked and did not answer, so a later try may find a name.
    """

    first_name: str = names.UNKNOWN
    last_name: str = names.UNKNOWN
    middle_name: str = ""
    max_id: str | None = None
    source: ProfileSource = ProfileSource.DEFAULT
    reason: NameReason = NameReason.NOBODY_KNOWS
    updated_at: datetime | None = None
    needs_direct_api: bool = False
    is_unresolved: bool = False

    @property
    def is_named(self) -> bool:
        return self.source != ProfileSource.DEFAULT

    @property
    def is_cached(self) -> bool:
        return self.source in (ProfileSource.WEBHOOK, ProfileSource.USER_INPUT)


def choose_name(known: Known, answer: Answer, policy: Policy, now: datetime) -> NameChoice:
    """Return the name for a person by what the stores have and what the direct API answered."""
    if policy.stage < CACHE_FIRST:
        return _by_direct_api(known, answer, now, NameReason.NOT_ADMITTED, can_ask=policy.has_token)
    cached = _by_stores(known, policy, now)
    if cached.is_named and (policy.stage >= CACHE_PRIMARY or cached.reason != NameReason.PARTIAL):
        return cached
    is_known = known.profile is not None or not known.is_readable
    can_ask = policy.has_token and not (policy.stage >= CACHE_PRIMARY and is_known)
    direct = _by_direct_api(known, answer, now, cached.reason, can_ask=can_ask)
    if not cached.is_named or (direct.is_named and direct.last_name):
        return direct
    return replace(cached, needs_direct_api=direct.needs_direct_api)


def _by_stores(known: Known, policy: Policy, now: datetime) -> NameChoice:
    profile = known.profile
    if profile is None:
        reason = NameReason.NOBODY_KNOWS if known.is_readable else NameReason.UNREADABLE
        return NameChoice(max_id=known.max_id, reason=reason)
    source, reason = ProfileSource.WEBHOOK, _judged(profile, policy, now)
    first, last, middle = profile.first_name, profile.last_name or "", ""
    if reason in (NameReason.NAMELESS, NameReason.STALE):
        return NameChoice(max_id=known.max_id, reason=reason)
    if reason == NameReason.USER_PROVIDED:
        source, (first, last, middle) = ProfileSource.USER_INPUT, names.split(profile.user_provided_name)
    return NameChoice(first, last, middle, known.max_id, source, reason, profile.last_updated)


def _judged(profile: KnownProfile, policy: Policy, now: datetime) -> NameReason:
    is_primary = policy.stage >= CACHE_PRIMARY
    is_fresh = is_fresh_at(now, profile.last_updated, policy.profile_ttl)
    if profile.user_provided_name:
        return NameReason.USER_PROVIDED
    if not (profile.first_name or (is_primary and profile.last_name)):
        return NameReason.NAMELESS
    if not (is_fresh or is_primary):
        return NameReason.STALE
    if not profile.first_name or profile.last_name is None:
        return NameReason.PARTIAL
    return NameReason.FRESH if is_fresh else NameReason.STORED


def is_fresh_at(now: datetime, last_updated: datetime | None, profile_ttl: timedelta) -> bool:
    """Return whether a name from MAX is young enough to be served."""
    return last_updated is not None and now - last_updated < profile_ttl


def _by_direct_api(known: Known, answer: Answer, now: datetime, reason: NameReason, *, can_ask: bool) -> NameChoice:
    """Return what the direct API gave; without a name from it, ``reason`` says why the stores gave none either."""
    if isinstance(answer, UserFound):
        max_id = known.max_id or answer.user_id
        if not answer.first_name:
            return NameChoice(max_id=max_id, reason=reason)
        names_given = (answer.first_name, answer.last_name, "")
        return NameChoice(*names_given, max_id, ProfileSource.API, NameReason.DIRECT_API, now)
    if answer is NoAnswer.FAILED:
        return NameChoice(max_id=known.max_id, reason=NameReason.OUTAGE, is_unresolved=True)
    needs_direct_api = can_ask and answer is NoAnswer.NOT_ASKED
    return NameChoice(max_id=known.max_id, reason=reason, needs_direct_api=needs_direct_api)
