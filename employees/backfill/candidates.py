"""Select the employees whose names may be set from the cache: SQL finds candidates, profiles.name_rule decides on each.

The backfill, its dry run, the quality report and the refresh of one employee use this module. Employees without a name
(source ``default``, or ``manual`` with the name ``Неизвестно``) get a name, whatever the percentage of the rollout is.
Names from the cache or the direct API are replaced only on request, and only for people that the rollout admits to the
cache. No name changes while the cache is off, or at a university to which a rule denies the cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from django.db import connection
from django.utils import timezone

from config.lib import sql
from employees.max_id_claims import nameless
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
    """An employee and the employee's profile.

    The profile is found by the employee's MAX ID or, if there is none, by the MAX ID that is linked to the phone.
    """

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


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """The inputs of a decision that are the same for all candidates.

    ``replaces_names`` is whether names from the cache or the direct API are replaced too. ``obstacle`` is the reason
    why the cache is off; None if it is on.
    """

    replaces_names: bool
    state: RolloutState
    obstacle: Reason | None
    now: datetime

    @classmethod
    def read(cls, *, replaces_names: bool = False, is_fresh: bool = False) -> "DecisionContext":
        """Return a context with the current rollout state.

        ``is_fresh`` bypasses the cached state, which may be a second old and so miss an emergency stop.
        """
        if is_fresh:
            with connection.cursor() as cursor:
                cursor.execute(STATE_QUERY)
                state = remember_state(cursor.fetchone())
        else:
            state = current_state()
        return cls(replaces_names, state, obstacle(state, "employee"), timezone.now())


def choices(
    context: DecisionContext,
    *,
    after_id: int = 0,
    until_id: int = 2**63 - 1,
    university_id: int | None = None,
    is_locked: bool = False,
) -> Iterator[tuple[Candidate, NameChoice]]:
    """Yield, in ID order, each employee in the ID range whose name would change, with the new name.

    The range begins after ``after_id`` and includes ``until_id``. ``is_locked`` locks the employees until the
    transaction ends. Until then, their profiles can be updated but not deleted. A simultaneous erasure therefore waits,
    and finds the names that were copied.
    """
    if context.obstacle is not None:
        return
    select = _SELECT + (" FOR KEY SHARE OF p FOR UPDATE OF e" if is_locked else "")
    while True:
        conditions = (university_id, university_id, names.UNKNOWN, names.UNKNOWN, context.replaces_names, PAGE)
        rows = sql.run(select, (after_id, until_id, *conditions))
        claimed = nameless(row[0] for row in rows)
        for candidate in map(Candidate._make, rows):
            if (choice := choose(candidate, context, is_claimed=candidate.id in claimed)) is not None:
                yield candidate, choice
        if len(rows) < PAGE:
            return
        after_id = rows[-1][0]


def choose(candidate: Candidate, context: DecisionContext, *, is_claimed: bool) -> NameChoice | None:
    """Return the candidate's new name from the cache; None if the employee keeps the present name.

    ``is_claimed`` is whether the MAX ID was entered by hand for the employee and never confirmed.
    """
    if context.state.denied.get(candidate.university_id, CACHE_PRIMARY) <= CACHE_FIRST:
        return None
    stage, _ = context.state.stage_of(candidate.phone, candidate.university_id)
    is_nameless = candidate.profile_source in (ProfileSource.DEFAULT, ProfileSource.MANUAL)
    if not is_nameless and stage < CACHE_FIRST:
        return None
    is_api = candidate.profile_source == ProfileSource.API
    # A stored name from the direct API counts as the direct API's response in a lookup.
    answer = UserFound(candidate.first_name, candidate.last_name, None) if is_api else NoAnswer.NOT_ASKED
    policy = policy_at(CACHE_PRIMARY if stage >= CACHE_PRIMARY and not is_api else CACHE_FIRST)
    name = (candidate.max_first_name, candidate.max_last_name, candidate.user_provided_name)
    known = Known(candidate.max_id, KnownProfile(*name, candidate.last_updated), is_claimed=is_claimed)
    choice = choose_name(known, answer, policy, context.now)
    before = (candidate.first_name, candidate.last_name, candidate.profile_source)
    if not choice.is_cached or before == (choice.first_name, choice.last_name, choice.source):
        return None
    return replace(choice, middle_name=middle_name(candidate.profile_source, candidate.middle_name, choice))


def middle_name(source: str, middle: str, choice: NameChoice) -> str:
    """Return the middle name to store, given the employee's present source and middle name.

    The present middle name is kept, unless the person entered it in MAX and the new name has a middle name too.
    """
    if source == ProfileSource.USER_INPUT and choice.middle_name:
        return choice.middle_name
    return middle or choice.middle_name
