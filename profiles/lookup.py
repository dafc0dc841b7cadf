"""Look up an employee's name in the stores and, if needed, in the direct API (docs/reference/names.md)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter

from django.conf import settings
from django.utils import timezone
from prometheus_client import Counter, Histogram

from config.postgres.base import without_standby
from profiles import cache, comparison, name_rule
from profiles.max_api import users
from profiles.max_api.client import MaxError
from profiles.models import PhoneLink, ProfileSource, WaitingComparison
from profiles.name_rule import Answer, Known, KnownProfile, NameChoice, NameReason, NoAnswer, Policy, UserFound
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


# A lookup stores nothing that must survive a failover, so it need not wait for a standby.
@without_standby()
def resolve(
    *,
    phone: str,
    max_id: str | None,
    university_id: int | None,
    first_name: str = "",
    last_name: str = "",
    is_claimed: bool = False,
) -> NameChoice:
    """Return the name to store for an employee; do not raise an error if Redis or the direct API fails.

    A given first or last name is kept, and a missing one is looked up. ``university_id`` is None only for probes, which
    belong to no university, so that no university rule applies to them. ``is_claimed`` means that the MAX ID was
    entered by hand and may belong to another person.
    """
    if first_name and last_name:
        return NameChoice(first_name, last_name, "", max_id, ProfileSource.MANUAL, NameReason.GIVEN)
    stage = decide(phone, university_id).stage
    started = time.perf_counter()
    choice = lookup_name(phone, max_id, policy_at(stage), _ask_direct_api, is_claimed=is_claimed)
    seconds = time.perf_counter() - started
    durations.labels(stage).observe(seconds)
    resolutions.labels(choice.source, stage).inc()
    compared_id = "" if is_claimed else choice.max_id or ""
    lookup = WaitingComparison(phone=phone, max_id=compared_id, university_id=university_id, stage=stage)
    lookup.served_source, lookup.served_ms = choice.source, seconds * 1000
    if choice.source == ProfileSource.API:
        lookup.api_name = f"{choice.first_name} {choice.last_name}".strip()
    comparison.enqueue(lookup)
    if not first_name and not last_name:
        return choice
    unknown = NameChoice(max_id=choice.max_id)
    with_given, only_given = (
        replace(
            found,
            first_name=first_name or found.first_name,
            last_name=last_name or found.last_name,
            source=ProfileSource.MANUAL,
            reason=NameReason.GIVEN,
            updated_at=None,
        )
        for found in (choice, unknown)
    )
    return replace(with_given, if_erased=only_given) if choice.is_cached else with_given


def policy_at(stage: int) -> Policy:
    """Return the policy of a stage under the current settings."""
    return Policy(stage, settings.PROFILE_TTL, bool(settings.MAX_BOT_TOKEN))


def lookup_name(
    phone: str, max_id: str | None, policy: Policy, ask: Callable[[str], Answer], *, is_claimed: bool = False
) -> NameChoice:
    """Return the name chosen from the stores and, if needed, from the direct API's response, which ``ask`` returns.

    Without a MAX ID, the stores are read with the ID linked to the phone or, if there is none, with the ID that the
    direct API returns. ``is_claimed`` means that the MAX ID may belong to another person.
    """
    if policy.uses_cache:
        known = replace(_read_stores(max_id or PhoneLink.objects.user_of(phone)), is_claimed=is_claimed)
    else:
        known = Known(max_id)
    choice = name_rule.choose_name(known, NoAnswer.NOT_ASKED, policy, timezone.now())
    if not choice.needs_direct_api:
        return choice
    answer = ask(phone)
    if policy.uses_cache and known.max_id is None and isinstance(answer, UserFound):
        known = _read_stores(answer.user_id)
    return name_rule.choose_name(known, answer, policy, timezone.now())


def _read_stores(max_id: str | None) -> Known:
    """Read the profile from Redis and, unless it has a full name there, from PostgreSQL.

    If the last name is missing, only PostgreSQL shows whether it is unknown or the person has none.
    """
    if not max_id:
        return Known()
    stored = cache.find(max_id, accepts=attrgetter("has_full_name"))
    record, cached, profile = stored.record, stored.redis, None
    if record is not None:
        own_name = record.user_provided_name or ""
        profile = KnownProfile(record.first_name or "", record.last_name, own_name, record.last_updated)
    elif cached is not None and (cached.has_full_name or stored.record_error):
        last_name = cached.max_last_name or None
        profile = KnownProfile(cached.max_first_name, last_name, cached.user_provided_name, cached.last_updated)
    return Known(max_id, profile, is_readable=stored.record_error is None)


def _ask_direct_api(phone: str) -> Answer:
    try:
        user = users.lookup_once(phone)
    except MaxError as error:
        extra = {"event": "direct_api_failed", "phone": masked(phone), "error": str(error)}
        logger.warning("direct API failed", extra=extra)
        return NoAnswer.FAILED
    return UserFound(user.first_name, user.last_name, user.user_id) if user else NoAnswer.ABSENT
