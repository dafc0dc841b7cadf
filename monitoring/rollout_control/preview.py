"""Preview who is affected by a change of a percentage, and explain what the system knows about one person."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from operator import add
from typing import Any, Self

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from config.lib import clock
from employees.models import Employee
from monitoring.stats.cached import LOOKED_UP_WITHIN, RUNGS, cohorts, statistic
from profiles import cache, failures
from profiles.cache import CachedProfile
from profiles.lookup import lookup_name, policy_at
from profiles.max_api import users
from profiles.max_api.client import MaxError
from profiles.models import PhoneLink, ProfileSource
from profiles.name_rule import Answer, NameChoice, NoAnswer, UserFound
from profiles.rollout.decision import BUCKETS, bucket, current_state, decide
from profiles.rollout.models import Flag, UniversityRule

_PEOPLE = """
SELECT id FROM employees WHERE university_id <> ALL(%(left_out)s) AND rollout_bucket(%(salt)s, phone) >= %(low)s
AND rollout_bucket(%(salt)s, phone) < %(high)s ORDER BY id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class UniversityShare:
    university_id: int
    name: str
    people: int
    without_profile: int
    lookups: int
    lookups_missing: int


@dataclass(frozen=True, slots=True)
class Preview:
    """The employees who would enter or leave a phase at a new percentage, except those of universities with a rule."""

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
        """Return a copy with the counts of only these universities, and without the list of people."""
        shares = [share for share in self.universities if share.university_id in universities]
        return replace(self, universities=shares, people=[])

    @property
    def api_calls_per_day(self) -> float:
        spared = sum(share.lookups - share.lookups_missing for share in self.universities) / LOOKED_UP_WITHIN.days
        return spared if self.target < self.current else -spared


def preview(name: str, phase: int, target: Decimal, limit: int = 20, *, may_be_cached: bool = False) -> Preview:
    """Count who would enter or leave the phase, and list ``limit`` of them; stored counts are fast for usual steps."""
    flag = Flag.objects.get(name=name)
    low, high = sorted(int(percent * BUCKETS / 100) for percent in (flag.percent, target))
    own_rules = UniversityRule.objects.in_force().filter(phase__lte=phase)
    left_out = set(own_rules.values_list("university_id", flat=True))
    stored = statistic("cohorts") if may_be_cached and {low, high} <= set(RUNGS) else None
    if stored and stored.value["salt"] == flag.salt:
        rungs, rows, counted_at = range(RUNGS.index(low), RUNGS.index(high)), stored.value["rows"], stored.at
    else:
        rungs, counted_at = range(1, 2), timezone.now()
        rows = cohorts(flag.salt, [low, high]) if low < high else []
    sums: dict[tuple[int, str], list[int]] = {}
    for university, title, rung, *numbers in rows:
        if rung in rungs and university not in left_out:
            sums[university, title] = list(map(add, sums.get((university, title), [0] * len(numbers)), numbers))
    shares = [UniversityShare(*key, *numbers) for key, numbers in sums.items()]
    shares.sort(key=lambda share: (-share.people, share.university_id))
    people: list[Employee] = []
    if shares and limit:
        params = {"salt": flag.salt, "low": low, "high": high, "left_out": list(left_out), "limit": limit}
        ids = [employee.pk for employee in Employee.objects.raw(_PEOPLE, params)]
        people = list(Employee.objects.filter(pk__in=ids).select_related("university").order_by("pk"))
    return Preview(phase, flag.percent, target, shares, people, counted_at)


def explain(phone: str, *, asks_api: bool = False) -> dict[str, Any]:
    """Return the rollout's decision for a phone, what each store has for the person, and the name that is served."""
    employee = Employee.objects.filter(phone=phone).first()
    university = employee.university_id if employee else None
    decision = decide(phone, university)
    max_id = (employee.max_id if employee else None) or PhoneLink.objects.user_of(phone)
    stored = cache.find(max_id, accepts=lambda _: False) if max_id else cache.Stored()
    answer, by_api = _by_api(phone) if asks_api else (NoAnswer.NOT_ASKED, None)
    choice = lookup_name(phone, max_id, policy_at(decision.stage), lambda _: answer)
    return {
        "bucket": bucket(current_state().salts.get("phase3_cache_first", ""), phone),
        "stage": decision.stage,
        "reason": str(decision.reason),
        "revision": decision.revision,
        "university": university,
        "max_id": max_id,
        "employee": employee.profile_source if employee else None,
        "redis": str(failures.message_for(stored.redis_error)) if stored.redis_error else _displayed(stored.redis),
        "record": _displayed(CachedProfile.of(stored.record) if stored.record else None),
        "age": clock.age(stored.record.last_updated) if stored.record else None,
        "api": by_api,
        "served": served(choice),
    }


def served(choice: NameChoice) -> str:
    """Return a sentence about the name that a new employee would get, and whether the direct API would be asked."""
    params = {"name": f"{choice.first_name} {choice.last_name}".strip(), "reason": choice.reason.label}
    if choice.needs_direct_api and choice.is_named:
        return _("The direct API would be asked for the full name; without it: %(name)s (%(reason)s).") % params
    if choice.needs_direct_api:
        return _("The direct API would be asked for the name: %(reason)s.") % params
    if choice.is_named:
        return _("A new employee would be named %(name)s: %(reason)s.") % params
    if not settings.MAX_BOT_TOKEN:
        return _("No name would be found: %(reason)s; without MAX_BOT_TOKEN the direct API is not asked.") % params
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
