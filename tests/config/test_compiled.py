"""Queries that are compiled once find what Django would find, whatever the values."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.db.models import Model, Q, QuerySet, Value

from config.postgres.compiled import CompiledQuery, Parameter
from employees.accounts import Group, UserScope
from employees.max_id_claims import with_max_id
from employees.models import Employee, MaxIdClaim, University
from monitoring.alerts.models import Alert
from profiles.models import PhoneLink, Profile
from tests.profiles.people import add_profile

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 12, 1, 12, 0, 0, 123456, tzinfo=UTC)
WORDS = ["7", "8", "Анна", "О'Нил", "100%s", "%(who)s", "\\", "“", "", "7' OR ''='"]


def profiles(who: object, before: object) -> "QuerySet[Profile]":
    named = Q(user_id=who) | Q(first_name=who)
    return Profile.objects.filter(named, first_name_set_at__lt=before).order_by("-user_id")


def employees(university: Any) -> "QuerySet[Employee]":
    return Employee.objects.select_related("university").filter(university=university)


def fields(found: Model | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {name: value for name, value in vars(found).items() if name != "_state"}


def test_it_finds_what_django_finds() -> None:
    for number, word in enumerate(WORDS):
        add_profile(str(number), word, None, at=NOW + timedelta(microseconds=number), is_cached=False)
    query = CompiledQuery(lambda: profiles(Parameter("who"), Parameter("before")))
    found = []
    for who, microseconds in product(WORDS, (0, 5, 20)):
        values = {"who": who, "before": NOW + timedelta(microseconds=microseconds)}
        found.append(query.first(**values))
        assert fields(found[-1]) == fields(profiles(**values).first()), values
    assert None in found
    assert len({profile.pk for profile in found if profile}) == len(WORDS)


def test_it_loads_related_objects_and_chosen_fields() -> None:
    university = University.objects.create(name="Вуз")
    employee = Employee.objects.create(phone="+79161234567", university=university)
    whole = CompiledQuery(lambda: employees(Parameter("university"))).first(university=university.pk)
    assert whole == employee
    assert whole._state.fields_cache["university"].name == "Вуз"
    some = CompiledQuery(lambda: Employee.objects.only("phone").filter(pk=Parameter("pk"))).first(pk=employee.pk)
    assert some is not None
    assert some.get_deferred_fields() >= {"first_name", "university_id"}
    assert (some.phone, some.first_name) == (employee.phone, employee.first_name)


@pytest.mark.parametrize("build", [Alert.objects.all, lambda: Profile.objects.annotate(one=Value(1))])
def test_it_refuses_what_it_would_read_wrongly(build: "Callable[[], QuerySet[Model]]") -> None:
    with pytest.raises(TypeError, match="not supported"):
        CompiledQuery(build).first()


def test_the_preferred_employee_is_found_within_each_scope() -> None:
    """For each set of employees who have an ID confirmed, by a phone link, or as a claim."""
    universities = [University.objects.create(name=name) for name in ("Первый", "Второй")]
    scopes = [
        UserScope(None, universities[0].pk),
        UserScope(Group.CURATOR),
        UserScope(Group.SUPERADMIN),
        *(UserScope(group, university.pk) for group in Group for university in universities),
    ]
    choices = list(product(("claim", "link", "confirmed"), universities))
    for chosen in product((False, True), repeat=len(choices)):
        person = f"7{''.join(str(int(one)) for one in chosen)}"
        for number, (kind, university) in enumerate(choice for choice, one in zip(choices, chosen, strict=True) if one):
            phone = f"+7{person}{number:03}"
            employee = Employee.objects.create(
                phone=phone, university=university, max_id=None if kind == "link" else person
            )
            if kind == "link":
                PhoneLink.objects.create(phone=phone, user_id=person, observed_at=NOW)
            elif kind == "claim":
                MaxIdClaim.objects.create(employee=employee, max_id=person, is_vouched=False)
        linked = Q(phone__in=PhoneLink.objects.filter(user_id=person).values("phone"))
        for scope in scopes:
            visible = scope.employees().order_by("pk")
            expected = (
                with_max_id(visible, person).first()
                or visible.filter(linked).first()
                or visible.filter(max_id=person).first()
            )
            found = scope.employee_with(person)
            assert found == expected, (scope, chosen)
            for university in universities:
                is_seen = university in scope.universities()
                assert scope.university(university.pk) == (university if is_seen else None)
