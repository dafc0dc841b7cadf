"""The rule that chooses an employee's name, its source and the reason, as a pure function.

Below stage 3, names come only from the direct API. In stage 3, the cache comes first: it provides a user-provided name
of any age, or a MAX name that is less than ``PROFILE_TTL`` old; a full name from the direct API replaces a partial one.
In stage 4, the cache provides names of any age, and the direct API is queried only if no profile is stored.
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
    GIVEN = "given", _("the name was entered by hand")
    USER_PROVIDED = "user_provided", _("the person chose the name")
    FRESH = "fresh", _("the cache has a fresh name from MAX")
    STORED = "stored", _("the cache has the name, and phase 4 ignores its age")
    PARTIAL = "partial", _("the cache has only part of the name")
    DIRECT_API = "direct_api", _("the direct API returned the name")
    STALE = "stale", _("the cached name is older than PROFILE_TTL")
    NAMELESS = "nameless", _("the cached profile has no name")
    UNREADABLE = "unreadable", _("the profile could not be read")
    CLAIMED = "claimed", _("the MAX ID was entered by hand, and nothing confirms that it is this person's")
    NOBODY_KNOWS = "nobody_knows", _("this person was not found in any source queried so far")
    NOT_ADMITTED = "not_admitted", _("the rollout does not use the cache for this person yet")
    OUTAGE = "outage", _("the direct API did not answer")


@dataclass(frozen=True, slots=True)
class Policy:
    """The rollout stage (0 to 4), how long a MAX name is fresh, and whether the direct API can be queried."""

    stage: int
    profile_ttl: timedelta
    has_token: bool

    @property
    def uses_cache(self) -> bool:
        return self.stage >= CACHE_FIRST


@dataclass(frozen=True, slots=True)
class KnownProfile:
    """The names of a stored profile. A missing name is ``""``, but an unknown ``last_name`` is None."""

    first_name: str
    last_name: str | None
    user_provided_name: str
    last_updated: datetime | None


@dataclass(frozen=True, slots=True)
class Known:
    """What the stores contain for a MAX ID.

    If ``is_readable`` is False, a profile may exist although ``profile`` is None. ``is_claimed`` means that the MAX ID
    may belong to another person: the profile's name is used only if the direct API returns the same ID.
    """

    max_id: str | None = None
    profile: KnownProfile | None = None
    is_readable: bool = True
    is_claimed: bool = False


class NoAnswer(Enum):
    """Why the direct API has returned no user: it has not been queried yet, it failed, or it has no such user."""

    NOT_ASKED = "not asked"
    FAILED = "failed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class UserFound:
    """The user that the direct API returned; a missing name is ``""``."""

    first_name: str
    last_name: str
    user_id: str | None


Answer = NoAnswer | UserFound


@dataclass(frozen=True, slots=True)
class NameChoice:
    """A name with its source and the reason; ``updated_at`` is None for ``manual`` and ``default``.

    ``needs_direct_api`` means that a response of the direct API could still change the choice. ``is_unresolved`` means
    that the direct API failed, so that a later attempt may find a name. If a part of the name was entered by hand and
    another part came from the cache, ``if_erased`` is the choice without the part from the cache, to be used if the
    person has been erased in the meantime.
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
    if_erased: NameChoice | None = None

    @property
    def is_named(self) -> bool:
        return self.source != ProfileSource.DEFAULT

    @property
    def is_cached(self) -> bool:
        return self.source in (ProfileSource.WEBHOOK, ProfileSource.USER_INPUT)


def choose_name(known: Known, answer: Answer, policy: Policy, now: datetime) -> NameChoice:
    """Return the name for a person, chosen from the stored profile and the direct API's response."""
    if known.is_claimed:
        is_confirmed = isinstance(answer, UserFound) and answer.user_id == known.max_id
        known = replace(known, is_claimed=False) if is_confirmed else replace(known, profile=None, is_readable=True)
    is_primary = policy.stage >= CACHE_PRIMARY
    if not policy.uses_cache:
        return _choose_direct(known, answer, now, NameReason.NOT_ADMITTED, can_ask=policy.has_token)
    cached = _choose_stored(known, policy, now)
    if cached.is_named and (is_primary or cached.reason != NameReason.PARTIAL):
        return cached
    may_have_profile = known.profile is not None or not known.is_readable
    can_ask = policy.has_token and not (is_primary and may_have_profile)
    direct = _choose_direct(known, answer, now, cached.reason, can_ask=can_ask)
    if not cached.is_named or (direct.is_named and direct.last_name):
        return direct
    return replace(cached, needs_direct_api=direct.needs_direct_api)


def _choose_stored(known: Known, policy: Policy, now: datetime) -> NameChoice:
    profile = known.profile
    if profile is None:
        reason = NameReason.NOBODY_KNOWS if known.is_readable else NameReason.UNREADABLE
        return NameChoice(max_id=known.max_id, reason=NameReason.CLAIMED if known.is_claimed else reason)
    if profile.user_provided_name:
        own_name = names.split(profile.user_provided_name)
        source, reason = ProfileSource.USER_INPUT, NameReason.USER_PROVIDED
        return NameChoice(*own_name, known.max_id, source, reason, profile.last_updated)
    is_primary = policy.stage >= CACHE_PRIMARY
    is_fresh = is_fresh_at(now, profile.last_updated, policy.profile_ttl)
    if not (profile.first_name or (is_primary and profile.last_name)):
        return NameChoice(max_id=known.max_id, reason=NameReason.NAMELESS)
    if not (is_fresh or is_primary):
        return NameChoice(max_id=known.max_id, reason=NameReason.STALE)
    reason = NameReason.FRESH if is_fresh else NameReason.STORED
    if not profile.first_name or profile.last_name is None:
        reason = NameReason.PARTIAL
    max_name = (profile.first_name, profile.last_name or "", "")
    return NameChoice(*max_name, known.max_id, ProfileSource.WEBHOOK, reason, profile.last_updated)


def is_fresh_at(now: datetime, last_updated: datetime | None, profile_ttl: timedelta) -> bool:
    return last_updated is not None and now - last_updated < profile_ttl


def _choose_direct(known: Known, answer: Answer, now: datetime, reason: NameReason, *, can_ask: bool) -> NameChoice:
    """Return the direct API's name; if it has none, return a choice without a name, with ``reason`` as its reason.

    If the API failed, the reason is OUTAGE instead. ``can_ask`` is whether the direct API may still be queried.
    """
    if isinstance(answer, UserFound):
        max_id = known.max_id or answer.user_id
        if not answer.first_name:
            return NameChoice(max_id=max_id, reason=reason)
        direct_name = (answer.first_name, answer.last_name, "")
        return NameChoice(*direct_name, max_id, ProfileSource.API, NameReason.DIRECT_API, now)
    if answer is NoAnswer.FAILED:
        return NameChoice(max_id=known.max_id, reason=NameReason.OUTAGE, is_unresolved=True)
    needs_direct_api = can_ask and answer is NoAnswer.NOT_ASKED
    return NameChoice(max_id=known.max_id, reason=reason, needs_direct_api=needs_direct_api)
