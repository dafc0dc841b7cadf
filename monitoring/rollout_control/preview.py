"""Preview which employees a change of a percentage affects, and explain what the system knows about one person."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from operator import add
from typing import Any, NamedTuple, Self

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from config.lib import clock
from employees.max_id_claims import nameless
from employees.models import Employee
from monitoring.stats.cached import LOOKED_UP_WITHIN, RUNGS, statistic
from monitoring.stats.cached import cohorts as count_cohorts
from profiles import cache, failures
from profiles.cache.cached_profile import CachedProfile
from profiles.lookup import lookup_name, policy_at
from profiles.max_api import users
from profiles.max_api.client import MaxError
from profiles.models import PhoneLink, ProfileSource
from profiles.name_rule import CACHE_FIRST, Answer, NameChoice, NoAnswer, UserFound
from profiles.rollout.decision import BUCKETS, COLLECTING, RolloutState, bucket, current_state, decide, obstacle
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES

_PEOPLE = """
SELECT id FROM employees WHERE university_id <> ALL(%(left_out)s) AND rollout_bucket(%(salt)s, phone) >= %(low)s
AND rollout_bucket(%(salt)s, phone) < %(high)s ORDER BY id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class UniversityShare:
    """How many employees of a university a change affects.

    ``lookups`` counts those created in the last week, whose names were looked up. Of these, ``lookups_missing`` have no
    cached profile, and ``lookups_partial`` have a stale or partial name, for which phase 3 queries the direct API.
    """

    university_id: int
    name: str
    people: int
    without_profile: int
    lookups: int
    lookups_missing: int
    lookups_partial: int


@dataclass(frozen=True, slots=True)
class Preview:
    """The employees whose lookups would use other sources at a new percentage of a phase, under the university rules.

    Phases 1 and 2 send no lookups to the cache. But lowering one also lowers the phases after it, which affects people.
    """

    phase: int
    current: Decimal
    target: Decimal
    universities: list[UniversityShare]
    people: list[Employee]
    counted_at: datetime

    @property
    def total(self) -> int:
        return sum(share.people for share in self.universities)

    @property
    def without_profile(self) -> int:
        return sum(share.without_profile for share in self.universities)

    def only_of(self, universities: Collection[int]) -> Self:
        """Return a copy with the counts of only these universities, and with an empty list of people."""
        shares = [share for share in self.universities if share.university_id in universities]
        return replace(self, universities=shares, people=[])

    @property
    def api_calls_per_day(self) -> float:
        """Return how many more calls of the direct API the change would cause per day; negative if it would save calls.

        Phase 3 saves calls for names that the cache may serve; phase 4 saves calls for stale or partial names.
        """
        spared = sum(
            share.lookups_partial
            if self.phase == len(PHASES)
            else share.lookups - share.lookups_missing - share.lookups_partial
            for share in self.universities
        )
        return (spared if self.target < self.current else -spared) / LOOKED_UP_WITHIN.days


def preview(name: str, phase: int, target: Decimal, limit: int = 20, *, may_be_cached: bool = False) -> Preview:
    """Count the people whose names would come from another source at ``target``, and list up to ``limit`` of them.

    ``name`` is the name of the phase's flag. ``may_be_cached`` allows stored counts, which may be out of date.
    """
    flags = {flag.name: flag for flag in Flag.objects.filter(name__in=PHASES)}
    current, salt = flags[name].percent, flags[name].salt
    before = [int(flags[each].percent * BUCKETS / 100) for each in PHASES]
    limit_after = int(target * BUCKETS / 100)
    after = [*before[: phase - 1], limit_after, *(min(limit_after, each) for each in before[phase:])]
    served = max(phase, CACHE_FIRST)
    low, high = sorted((before[served - 1], after[served - 1]))
    state = current_state()
    cohorts = _cohorts(salt, [low, high], may_be_cached=may_be_cached)
    sums: dict[tuple[int, str], list[int]] = {}
    for university, title, first, last, *numbers in cohorts.rows:
        bounds = sorted(_admitted(state, university, percents, served) for percents in (before, after))
        if bounds[0] <= first and last <= bounds[1]:
            sums[university, title] = list(map(add, sums.get((university, title), [0] * len(numbers)), numbers))
    shares = [UniversityShare(*key, *numbers) for key, numbers in sums.items()]
    shares.sort(key=lambda share: (-share.people, share.university_id))
    people: list[Employee] = []
    if shares and limit:
        ruled = [pk for pk in {**state.allowed, **state.denied} if _is_ruled(state, pk, served)]
        params = {"salt": salt, "low": low, "high": high, "left_out": ruled, "limit": limit}
        ids = [employee.pk for employee in Employee.objects.raw(_PEOPLE, params)]
        people = list(Employee.objects.filter(pk__in=ids).select_related("university").order_by("pk"))
    return Preview(phase, current, target, shares, people, cohorts.counted_at)


def people_served() -> int:
    """Count the employees whose lookups use the cache first, under the current percentages and rules."""
    state = current_state()
    if obstacle(state, "employee"):
        return 0
    percents = list(state.phases)
    cohorts = _cohorts(state.salts.get(PHASES[2], ""), [percents[2]], may_be_cached=True)
    return sum(
        people
        for university, _title, _first, last, people, *_ in cohorts.rows
        if last <= _admitted(state, university, percents, CACHE_FIRST)
    )


class _Cohorts(NamedTuple):
    """Employee counts. A row has university ID, name, first bucket, last bucket + 1, and UniversityShare's counts."""

    rows: list[tuple[Any, ...]]
    counted_at: datetime


def _cohorts(salt: str, edges: list[int], *, may_be_cached: bool) -> _Cohorts:
    """Count the employees by university and by range of buckets; a new range begins at each of ``edges``.

    Use stored counts only if ``may_be_cached``, and only if the edges are those of the usual steps.
    """
    stored = statistic("cohort_lookups") if may_be_cached and set(edges) <= set(RUNGS) else None
    if stored and stored.value["salt"] == salt:
        bounds, rows, counted_at = RUNGS, stored.value["rows"], stored.at
    else:
        bounds = sorted({0, *edges, BUCKETS})
        rows, counted_at = count_cohorts(salt, bounds[1:-1]), timezone.now()
    placed = [(pk, title, bounds[rung], bounds[rung + 1], *numbers) for pk, title, rung, *numbers in rows]
    return _Cohorts(placed, counted_at)


def _admitted(state: RolloutState, university: int, percents: list[int], phase: int) -> int:
    """Return the bucket below which people of the university are in ``phase``.

    ``percents`` are the percentages of all phases, converted to numbers of buckets.
    """
    if not percents[COLLECTING - 1]:
        return 0
    if state.denied.get(university, BUCKETS) <= phase:
        return 0
    return BUCKETS if state.allowed.get(university, 0) >= phase else min(percents[:phase])


def _is_ruled(state: RolloutState, university: int, phase: int) -> bool:
    return state.denied.get(university, BUCKETS) <= phase or state.allowed.get(university, 0) >= phase


def explain(phone: str, *, asks_api: bool = False) -> dict[str, Any]:
    """Return the rollout's decision for a phone, what each store has for the person, and the name that a lookup serves.

    With ``asks_api``, query the direct API too. A MAX ID that was entered for the employee but never verified is
    returned as ``claimed_id``; the profile with this ID may be another person's and is not returned. The module
    ``explanation`` turns the result into sentences.
    """
    employee = Employee.objects.filter(phone=phone).select_related("university").first()
    university = employee.university_id if employee else None
    decision = decide(phone, university)
    entered_id = employee.max_id if employee else None
    claimed_id = entered_id if employee and nameless([employee.pk]) else None
    max_id = (None if claimed_id else entered_id) or PhoneLink.objects.user_of(phone)
    stored = cache.find(max_id, accepts=lambda _: False) if max_id else cache.Stored()
    answer, by_api = _by_api(phone) if asks_api else (NoAnswer.NOT_ASKED, None)
    looked_up, is_claimed = claimed_id or max_id, bool(claimed_id)
    choice = lookup_name(phone, looked_up, policy_at(decision.stage), lambda _: answer, is_claimed=is_claimed)
    state = current_state()
    return {
        "phases": state.phases,
        "configured": state.configured,
        "bucket": bucket(state.salts.get("phase3_cache_first", ""), phone),
        "stage": decision.stage,
        "reason": decision.reason,
        "revision": decision.revision,
        "max_id": max_id,
        "claimed_id": claimed_id,
        "employee": employee,
        "redis": str(failures.message_for(stored.redis_error)) if stored.redis_error else _displayed(stored.redis),
        "record": _displayed(CachedProfile.of(stored.record) if stored.record else None),
        "age": clock.age(stored.record.last_updated) if stored.record else None,
        "api": by_api,
        "served": served(choice),
    }


def served(choice: NameChoice) -> str:
    """Return a sentence about the name that a new employee would get, and whether the direct API would be queried."""
    params = {"name": f"{choice.first_name} {choice.last_name}".strip(), "reason": choice.reason.label}
    if choice.needs_direct_api and choice.is_named:
        return _("The name would be %(name)s (%(reason)s), unless the direct API returned a full name.") % params
    if choice.needs_direct_api:
        return _("The name would be requested from the direct API: %(reason)s.") % params
    if choice.is_named:
        return _("A new employee would be named %(name)s: %(reason)s.") % params
    if not settings.MAX_BOT_TOKEN:
        return _("No name would be found: %(reason)s; without MAX_BOT_TOKEN the direct API is not called.") % params
    return _("No name would be found: %(reason)s.") % params


def _displayed(cached: CachedProfile | None) -> str:
    if cached is None:
        return "—"
    stale = _(", stale") if cached.is_stale else ""
    return f"{cached.display_name or '—'} ({ProfileSource(cached.source).label}{stale})"


def _by_api(phone: str) -> tuple[Answer, str]:
    try:
        user = users.fetch_users([phone]).get(phone)
    except MaxError as error:
        return NoAnswer.FAILED, str(error.message)
    if user is None:
        return NoAnswer.ABSENT, "—"
    return UserFound(user.first_name, user.last_name, user.user_id), f"{user.first_name} {user.last_name}".strip()
