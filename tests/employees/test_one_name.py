"""Every surface that names people, or shows how it would, chooses the same name.

Lookup, late answer, refresh, backfill (dry and real), person page, quality report and its recommendations, over
profiles, ages, answers of the direct API, tokens, settings, percentages and rules for universities.
``NAMES=full`` draws forty times as many.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings
from redis import Redis
from waffle.models import Switch

from employees import naming
from employees.backfill import batches
from employees.backfill.candidates import Candidate, DecisionContext, choices
from employees.models import BackfillBatch, BackfillRun, Employee, University, UnresolvedName
from employees.naming import refresh
from monitoring.dashboard import person
from monitoring.rollout_control import preview
from monitoring.stats import reports
from profiles import cache
from profiles.lookup import policy_at, resolve
from profiles.max_api import users
from profiles.models import DirectAnswer, PhoneLink, Profile
from profiles.name_rule import Answer, Known, KnownProfile, NameChoice, NoAnswer, UserFound, choose_name
from profiles.rollout.decision import decide, forget_state
from profiles.rollout.models import UniversityRule
from tests.conftest import Phases
from tests.profiles.fake_max import FakeMax

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

IS_FULL = os.environ.get("NAMES") == "full"
EXAMPLES = 300 if IS_FULL else 3
# Making a failure smaller takes minutes.
TRIED = [Phase.explicit, Phase.generate, *([Phase.shrink] if IS_FULL else [])]
UNKNOWN = "Неизвестно"
MINUTE, TTL = timedelta(minutes=1), django_settings.PROFILE_TTL

profiles = st.fixed_dictionaries(
    {
        "first_name": st.sampled_from([None, "", "Иван", "Иван"]),
        "last_name": st.sampled_from([None, "", "Петров", "Петров"]),
        "user_provided_name": st.sampled_from([None, "", "", "Ваня Чудов", "Ваня Чудов Ильич"]),
        "is_first_name_real": st.booleans(),
        "age": st.sampled_from([MINUTE, TTL - MINUTE, TTL + MINUTE, 9 * TTL]),
        "is_cached": st.booleans(),
    }
)
NAMELESS, CALLED_UNKNOWN = ("default", UNKNOWN, UNKNOWN), ("manual", UNKNOWN, "")
BY_API, OLDER, LONE = ("api", "Олег", "Сидоров"), ("webhook", "Вано", "Петров"), ("manual", "Анна", UNKNOWN)
rows = st.sampled_from(
    [NAMELESS, NAMELESS, CALLED_UNKNOWN, BY_API, ("api", "Олег", ""), OLDER, ("user_input", "Ванечка", ""), LONE]
)
people = st.fixed_dictionaries(
    {
        "profile": st.none() | profiles,
        "row": rows,
        "middle_name": st.sampled_from(["", "Львович"]),
        "id_by": st.sampled_from(["row", "row", "link", "nothing"]),
        "is_at_second": st.booleans(),
        "api": st.sampled_from([None, ("Олег", "Сидоров"), ("Олег", ""), ("", "")]),
    }
)
worlds = st.fixed_dictionaries(
    {
        "percents": st.sampled_from([(), (100, 100), (100, 100, 50), (100, 100, 100), (100,) * 4, (100, 100, 60, 40)]),
        "rule": st.sampled_from([None, None, (3, False), (4, False), (3, True), (4, True)]),
        "obstacle": st.sampled_from([None, None, None, None, "profile_cache", "service_employee", "latch", "hard off"]),
        "has_token": st.booleans(),
        "is_api_down": st.booleans(),
        "people": st.lists(people, min_size=2, max_size=5),
    }
)


def profile(last_name: str | None = "Петров", own_name: str = "", age: timedelta = MINUTE) -> dict[str, Any]:
    own_names = {"user_provided_name": own_name, "is_first_name_real": True}
    return {"first_name": "Иван", "last_name": last_name, "age": age, "is_cached": True} | own_names


def someone(
    row: tuple[str, str, str], known: dict[str, Any] | None, id_by: str = "row", **fields: Any
) -> dict[str, Any]:
    others = {"middle_name": "", "is_at_second": False, "api": None}
    return {"row": row, "profile": known, "id_by": id_by} | others | fields


FULL = ("Олег", "Сидоров")
# Always tried, besides what is drawn: people about which two surfaces once disagreed, or easily would.
EVERYBODY = [
    someone(NAMELESS, profile(), api=FULL),
    someone(NAMELESS, profile(last_name=None), api=FULL),
    someone(NAMELESS, profile(last_name="")),
    someone(NAMELESS, profile(age=TTL + MINUTE), "link"),
    someone(NAMELESS, profile(own_name="Ваня Чудов Ильич", age=9 * TTL), middle_name="Львович"),
    someone(CALLED_UNKNOWN, profile(), "link"),
    someone(BY_API, profile(last_name=None)),
    someone(BY_API, profile()),
    someone(OLDER, profile()),
    someone(LONE, None, "nothing", api=FULL),
]


def world_of(*percents: int, **fields: Any) -> dict[str, Any]:
    others = {"rule": None, "obstacle": None, "has_token": True, "is_api_down": False, "people": EVERYBODY}
    return {"percents": percents} | others | fields


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


class World:
    """What hypothesis has drawn, in the stores; expectations are made of the drawing, not of what a reader found."""

    def __init__(self, drawn: dict[str, Any], direct: FakeMax) -> None:
        self.drawn, self.direct = drawn, direct
        self.universities = [University.objects.create(name=f"Вуз {number}") for number in range(2)]
        self.now = timezone.now()
        direct.users, direct.status = [], 500 if drawn["is_api_down"] else 200
        self.employees = [self.create(number, fields) for number, fields in enumerate(drawn["people"])]

    def create(self, number: int, fields: dict[str, Any]) -> Employee:
        phone, max_id = f"+7916000000{number}", str(number + 1)
        if fields["profile"]:
            self.store(max_id, **fields["profile"])
        if fields["id_by"] == "link":
            PhoneLink.objects.create(phone=phone, user_id=max_id, observed_at=self.now)
        if fields["api"]:
            self.direct.knows(phone, number + 1, *fields["api"])
        source, first_name, last_name = fields["row"]
        return Employee.objects.create(
            phone=phone,
            max_id=max_id if fields["id_by"] == "row" else None,
            university=self.universities[fields["is_at_second"]],
            profile_source=source,
            first_name=first_name,
            last_name=last_name,
            middle_name=fields["middle_name"],
        )

    def store(self, max_id: str, age: timedelta, is_cached: bool, **fields: Any) -> None:
        set_at = {
            f"{name}_set_at": None if fields[name] is None else self.now
            for name in ("first_name", "last_name", "user_provided_name")
        }
        profile = Profile.objects.create(user_id=max_id, last_updated=self.now - age, **set_at, **fields)
        if is_cached:
            cache.write([profile])

    def fields(self, employee: Employee) -> dict[str, Any]:
        fields: dict[str, Any] = self.drawn["people"][self.employees.index(employee)]
        return fields

    def known(self, employee: Employee, *, by_api: bool = False) -> Known:
        fields, max_id = self.fields(employee), self.max_id(employee)
        if fields["id_by"] == "nothing" and not by_api:
            return Known()
        if (drawn := fields["profile"]) is None:
            return Known(max_id)
        own_name, last_updated = drawn["user_provided_name"] or "", self.now - drawn["age"]
        return Known(max_id, KnownProfile(drawn["first_name"] or "", drawn["last_name"], own_name, last_updated))

    def max_id(self, employee: Employee) -> str:
        return str(self.employees.index(employee) + 1)

    def answer(self, employee: Employee) -> Answer:
        if self.drawn["is_api_down"]:
            return NoAnswer.FAILED
        api = self.fields(employee)["api"]
        return UserFound(api[0], api[1], self.max_id(employee)) if api else NoAnswer.ABSENT

    def expected(self, employee: Employee, *, is_asked: bool = True) -> NameChoice:
        """Return what the rule chooses for a new employee of this phone, MAX id and university."""
        policy = policy_at(decide(employee.phone, employee.university_id).stage)
        known = self.known(employee) if policy.stage >= 3 else Known(employee.max_id)
        choice = choose_name(known, NoAnswer.NOT_ASKED, policy, self.now)
        if not (choice.needs_direct_api and is_asked):
            return choice
        answer = self.answer(employee)
        if policy.stage >= 3 and known.max_id is None and isinstance(answer, UserFound):
            known = self.known(employee, by_api=True)
        return choose_name(known, answer, policy, self.now)

    def expected_of_cache(self, employee: Employee, *, replaces_names: bool) -> NameChoice | None:
        """Return the name that a backfill gives this employee, None where the row stays."""
        source = str(employee.profile_source)
        is_nameless = (source, employee.first_name) in (("default", UNKNOWN), ("manual", UNKNOWN))
        stage = decide(employee.phone, employee.university_id).stage
        may_replace = replaces_names and source != "manual" and stage >= 3
        if self.drawn["obstacle"] or self.is_denied(employee) or not (is_nameless or may_replace):
            return None
        answer: Answer = NoAnswer.NOT_ASKED
        if source == "api":
            stage, answer = 3, UserFound(employee.first_name, employee.last_name, employee.max_id)
        choice = choose_name(self.known(employee), answer, policy_at(max(stage, 3)), self.now)
        before = (employee.first_name, employee.last_name, source)
        is_new = (choice.first_name, choice.last_name, str(choice.source)) != before
        return choice if choice.is_cached and is_new else None

    def is_denied(self, employee: Employee) -> bool:
        return self.drawn["rule"] == (3, False) and employee.university == self.universities[0]


def named(row: Employee | NameChoice) -> tuple[str, str, str]:
    source = row.profile_source if isinstance(row, Employee) else row.source
    return row.first_name, row.last_name, str(source)


def lookup_agrees(world: World) -> None:
    for employee in world.employees:
        choice = resolve(phone=employee.phone, max_id=employee.max_id, university_id=employee.university_id)
        expected = world.expected(employee)
        assert (named(choice), choice.reason, choice.max_id, choice.is_unresolved) == (
            named(expected), expected.reason, expected.max_id, expected.is_unresolved,
        )  # fmt: skip
        event(f"looked up: {choice.reason}")


def person_page_agrees(world: World) -> None:
    for employee in world.employees:
        for asks_api in (False, True):
            match = person.find(employee.phone, asks_api=asks_api)
            assert match
            assert match.lookup
            expected = world.expected(employee, is_asked=asks_api)
            assert match.lookup["served"] == preview.served(expected)


def late_answer_agrees(world: World) -> None:
    for employee in world.employees:
        if employee.profile_source not in ("default", "manual"):
            continue
        UnresolvedName.objects.create(employee=employee, next_try_at=world.now)
        naming.retry_unresolved(float("inf"))
        expected, is_lone = world.expected(employee), employee.profile_source == "manual"
        after = Employee.objects.get(pk=employee.pk)
        assert UnresolvedName.objects.filter(pk=employee.pk).exists() == expected.is_unresolved
        UnresolvedName.objects.all().delete()
        if not expected.is_named:
            assert named(after) == named(employee)
        elif is_lone:
            before = [employee.first_name, employee.last_name]
            given = (expected.first_name, expected.last_name)
            filled = [new if old == UNKNOWN else old for old, new in zip(before, given, strict=True)]
            assert named(after) == (*filled, "manual")
        else:
            assert named(after) == named(expected)
            assert after.middle_name == (employee.middle_name or expected.middle_name)


def backfill_agrees(world: World, *, replaces_names: bool) -> None:
    expected = {
        employee.pk: choice
        for employee in world.employees
        if (choice := world.expected_of_cache(employee, replaces_names=replaces_names))
    }
    dry = list(choices(DecisionContext.read(replaces_names=replaces_names)))
    assert {candidate.id: named(choice) for candidate, choice in dry} == {
        pk: named(choice) for pk, choice in expected.items()
    }
    assert Counter(
        {row[:3]: row[3] for row in batches.preview_names(replaces_names=replaces_names, limit=0).rows}
    ) == counted(world, dry)
    before = snapshot()
    run = batches.start(replaces_names=replaces_names, batch_size=2)
    while batches.run_batch(run):
        pass
    changes = [change for changes in BackfillBatch.objects.values_list("changes", flat=True) for change in changes]
    assert {pk: tuple(after[:3]) for pk, _, after in changes} == {
        candidate.id: (choice.first_name, choice.last_name, choice.middle_name) for candidate, choice in dry
    }
    for employee in world.employees:
        after = Employee.objects.get(pk=employee.pk)
        assert named(after) == named(expected.get(employee.pk, employee))
        if employee.pk in expected:
            event(f"named by the backfill: {employee.profile_source} → {after.profile_source}")
    assert (run.status == "paused") == bool(world.drawn["obstacle"])
    assert not batches.preview_names(replaces_names=replaces_names, limit=0).rows
    run.undo()
    while batches.run_batch(run):
        pass
    assert snapshot() == before


def snapshot() -> list[tuple[Any, ...]]:
    fields = ("id", "first_name", "last_name", "middle_name", "max_id", "profile_source", "profile_last_updated")
    return list(Employee.objects.order_by("id").values_list(*fields))


def counted(world: World, dry: list[tuple[Candidate, NameChoice]]) -> Counter[tuple[str, str, str]]:
    titles = {university.pk: university.name for university in world.universities}
    return Counter(
        (titles[candidate.university_id], candidate.profile_source, str(choice.source)) for candidate, choice in dry
    )


def refresh_agrees(world: World) -> None:
    for employee in world.employees:
        expected = world.expected_of_cache(employee, replaces_names=True)
        assert refresh(employee.pk) == (expected is not None)
        assert named(Employee.objects.get(pk=employee.pk)) == named(expected or employee)


def report_agrees(world: World) -> None:
    number = batches.preview_names(limit=0).total
    report = reports.quality()
    issues = {issue["type"]: issue["count"] for issue in report["data_issues"]}
    assert issues.get("names_to_backfill", 0) == number
    recommended = [action for action in report["recommended_actions"] if "backfill start" in action]
    assert len(recommended) == bool(number)
    assert all(f": {number}. " in action for action in recommended)


def nameless_people_get_the_looked_up_name(world: World) -> None:
    """Where the cache answers a lookup at once, a backfill gives a nameless employee the same name."""
    filled = {candidate.id: choice for candidate, choice in choices(DecisionContext.read())}
    for employee in world.employees:
        choice = world.expected(employee, is_asked=False)
        is_nameless = employee.first_name == UNKNOWN and named(choice) != named(employee)
        if is_nameless and choice.is_cached and not choice.needs_direct_api:
            assert named(filled[employee.pk]) == named(choice)


CHECKS: list[Callable[[World], None]] = [
    lookup_agrees,
    person_page_agrees,
    late_answer_agrees,
    partial(backfill_agrees, replaces_names=False),
    partial(backfill_agrees, replaces_names=True),
    refresh_agrees,
    report_agrees,
    nameless_people_get_the_looked_up_name,
]


@pytest.mark.timeout(1800 if IS_FULL else 120)
@settings(
    max_examples=EXAMPLES,
    phases=TRIED,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
@given(drawn=worlds)
@example(drawn=world_of(100, 100))
@example(drawn=world_of(100, 100, 100))
@example(drawn=world_of(100, 100, 100, rule=(3, False)))
@example(drawn=world_of(100, 100, 100, 100, has_token=False))
@example(drawn=world_of(100, 100, 100, obstacle="latch", people=EVERYBODY[:3]))
def test_every_surface_chooses_the_same_name(
    phases: Phases, redis: Redis, direct: FakeMax, settings: Settings, drawn: dict[str, Any]
) -> None:
    with undone():
        redis.flushdb()
        cache.begin_generation()
        phases(*drawn["percents"])
        settings.MAX_BOT_TOKEN = "bot-token" if drawn["has_token"] else ""
        world = World(drawn, direct)
        if drawn["rule"]:
            phase, is_allowed = drawn["rule"]
            UniversityRule.objects.create(
                university_id=world.universities[0].pk, phase=phase, is_allowed=is_allowed, reason="drawn"
            )
        obstacle = drawn["obstacle"]
        settings.PROFILE_CACHE_ENABLED = obstacle != "hard off"
        Switch.objects.filter(name=obstacle).update(active=False)
        Switch.objects.filter(name="emergency_stop").update(active=obstacle == "latch")
        for check in CHECKS:
            with undone(), pytest.MonkeyPatch.context() as patch:
                patch.setattr(users, "SPACING", timedelta())
                forget_state()
                users.breaker.close()
                DirectAnswer.objects.all().delete()
                BackfillRun.objects.all().delete()
                check(world)
