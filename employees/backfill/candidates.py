"""Employees whose name the profile cache may give or change: selected by SQL, decided by profiles.name_rule.

The backfill, its dry run, the count of the quality report and the refresh of one employee all ask here. Without a name
are rows of source ``default`` and ``manual`` ones called ``Неизвестно``: the cache may name them whatever the
percentages say. Names that a store or the direct API gave are replaced only on request, and only for people that the
rollout admits to the cache. Nobody is named while the rollout keeps the cache off, nor at a denied university.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from django.db import connection
from django.utils import timezone

from config.lib import sql
from profiles import names
from profiles.lookup import policy_at
from profiles.models import ProfileSource
from profiles.name_rule import (
    CACHE_FIRST,
    CACHE_PRIMARY,
    Known,
    KnownProfile,
    NameChoice,
    NoAnswer,
    Policy,
    UserFound,
    choose_name,
)
from profiles.rollout.decision import STATE_QUERY, Reason, RolloutState, current_state, obstacle, remember_state

PAGE = 5_000

_SELECT = """
SELECT e.id, e.phone, e.university_id, e.first_name, e.last_name, e.middle_name, e.profile_source,
    coalesce(e.max_id, l.user_id), coalesce(p.first_name, ''), p.last_name, coalesce(p.user_provided_name, ''),
    p.last_updated
FROM employees e
LEFT JOIN phone_links l ON e.max_id IS NULL AND l.phone = e.phone
JOIN profile_cache p ON p.user_id = coalesce(e.max_id, l.user_id)
WHERE e.id > %b::bigint AND e.id <= %b::bigint AND (%b::bigint IS NULL OR e.university_id = %b::bigint)
    AND (e.profile_source = 'default'
        OR (e.profile_source = 'manual' AND e.first_name = %b::text AND e.last_name IN (%b::text, ''))
        OR (e.profile_source IN ('api', 'webhook', 'user_input') AND %b::boolean))
ORDER BY e.id LIMIT %b::bigint
"""


class Candidate(NamedTuple):
    """An employee and, by their MAX id or the phone's link, their profile: one row of the selection."""

    id: int
    phone: str
    university_id: int
    first_name: str
    last_name: str
    middle_name: str
    profile_source: str
    max_id: str
    max_first_name: str
    max_last_name: str | None
    user_provided_name: str
    last_updated: datetime

    @property
    def known(self) -> Known:
        profile = KnownProfile(self.max_first_name, self.max_last_name, self.user_provided_name, self.last_updated)
        return Known(self.max_id, profile)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all candidates at one moment: the rollout, the settings, and whether names are replaced."""

    replaces_names: bool
    state: RolloutState
    obstacle: Reason | None
    cache_first: Policy
    cache_primary: Policy
    now: datetime

    @classmethod
    def read(cls, *, replaces_names: bool = False, is_fresh: bool = False) -> Terms:
        """Read the rollout; ``is_fresh`` for work that must not go on for the memo's second after an emergency stop."""
        state = _fresh_state() if is_fresh else current_state()
        policies = (policy_at(CACHE_FIRST), policy_at(CACHE_PRIMARY))
        return cls(replaces_names, state, obstacle(state, "employee"), *policies, timezone.now())


def _fresh_state() -> RolloutState:
    with connection.cursor() as cursor:
        cursor.execute(STATE_QUERY)
        return remember_state(cursor.fetchone())


def choices(
    terms: Terms,
    *,
    after_id: int = 0,
    until_id: int = 2**63 - 1,
    university_id: int | None = None,
    is_locked: bool = False,
) -> Iterator[tuple[Candidate, NameChoice]]:
    """Yield the employees of a range of ids whose name changes, with that name, by id.

    ``is_locked`` keeps their rows locked until the end of the transaction.
    """
    if terms.obstacle is not None:
        return
    select = _SELECT + (" FOR UPDATE OF e" if is_locked else "")
    while True:
        conditions = (university_id, university_id, names.UNKNOWN, names.UNKNOWN, terms.replaces_names, PAGE)
        rows = sql.run(select, (after_id, until_id, *conditions))
        for candidate in map(Candidate._make, rows):
            if (choice := choose(candidate, terms)) is not None:
                yield candidate, choice
        if len(rows) < PAGE:
            return
        after_id = rows[-1][0]


def choose(candidate: Candidate, terms: Terms) -> NameChoice | None:
    """Return the name that a candidate takes from the cache, None where the row stays as it is."""
    if terms.state.denied.get(candidate.university_id, CACHE_PRIMARY) <= CACHE_FIRST:
        return None
    stage, _ = terms.state.stage_of(candidate.phone, candidate.university_id)
    is_nameless = candidate.profile_source in (ProfileSource.DEFAULT, ProfileSource.MANUAL)
    if not is_nameless and stage < CACHE_FIRST:
        return None
    is_api = candidate.profile_source == ProfileSource.API
    # A name that the direct API gave counts as its answer, to be weighed as at a lookup that asked it.
    answer = UserFound(candidate.first_name, candidate.last_name, candidate.max_id) if is_api else NoAnswer.NOT_ASKED
    policy = terms.cache_primary if stage >= CACHE_PRIMARY and not is_api else terms.cache_first
    choice = choose_name(candidate.known, answer, policy, terms.now)
    before = (candidate.first_name, candidate.last_name, candidate.profile_source)
    if not choice.is_cached or before == (choice.first_name, choice.last_name, choice.source):
        return None
    middle = middle_name(candidate.profile_source, candidate.middle_name, choice)
    return choice if middle == choice.middle_name else replace(choice, middle_name=middle)


def middle_name(source: str, middle: str, choice: NameChoice) -> str:
    """Return the middle name that a row keeps or takes: one that was entered by hand stays."""
    if source == ProfileSource.USER_INPUT and choice.middle_name:
        return choice.middle_name
    return middle or choice.middle_name
