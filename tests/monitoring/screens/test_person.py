"""The person page: what the stores know, and which name a lookup would serve."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from pytest_django.fixtures import Settings

from employees.models import Employee, Membership, University
from monitoring.dashboard import person
from profiles.personal_data.erasure import erase
from profiles.rollout.decision import forget_state
from profiles.rollout.models import UniversityRule
from tests.conftest import Phases
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

PHONE = "+79160000000"


def served(phone: str = PHONE) -> str:
    match = person.find(phone)
    assert match
    assert match.lookup
    return str(match.lookup["served"])


@pytest.fixture
def employee(university: University) -> Employee:
    return Employee.objects.create(phone=PHONE, max_id="7", university=university)


def test_it_works(operator: Client, phases: Phases, employee: Employee) -> None:
    phases(100, 100, 100)
    add_profile("7", "Мария", "Кузнецова")
    content = operator.post("/admin/person/", {"who": "8 (916) 000-00-00"}).content.decode()
    assert content.count("Мария Кузнецова") >= 3, "Redis, PostgreSQL, and the name that would be served"


def test_digits_that_can_be_both_are_a_phone_if_an_employee_has_it_and_a_max_id_otherwise(employee: Employee) -> None:
    add_profile("9160000000", "Олег", "Петров")
    match = person.find("9160000000")
    assert match
    assert match.employee == employee
    employee.delete()
    match = person.find("9160000000")
    assert match
    assert match.profile
    assert match.profile.user_id == "9160000000"
    assert person.find("8 916 000-00-00") == person.find(PHONE), "with a country code it is a phone"


@pytest.mark.parametrize(
    ("percents", "age", "names", "expected"),
    [
        ((100, 100, 100), 0, ("Мария", "Кузнецова"), True),
        ((100, 100, 0), 0, ("Мария", "Кузнецова"), False),
        ((100, 100, 100), 2, ("Мария", "Кузнецова"), False),
        ((100, 100, 100), 0, ("Мария", None), True),
        ((100, 100, 100), 0, ("Мария", ""), True),
        ((100, 100, 100, 100), 2, ("Мария", "Кузнецова"), True),
        ((100, 100, 100, 100), 0, ("Мария", None), True),
    ],
)
def test_it_shows_the_served_name(
    phases: Phases,
    employee: Employee,
    percents: tuple[int, ...],
    age: int,
    names: tuple[str, str | None],
    expected: bool,
) -> None:
    """``age`` is in units of PROFILE_TTL."""
    phases(*percents)
    add_profile("7", *names, age=age * django_settings.PROFILE_TTL + timedelta(minutes=1))
    assert ("Мария" in served()) is expected


def test_it_needs_a_token_for_the_direct_api(phases: Phases, employee: Employee, settings: Settings) -> None:
    phases(100, 100, 0)
    settings.MAX_BOT_TOKEN = "token"
    expected = (
        "The name would be requested from the direct API: the rollout does not use the cache for this person yet."
    )
    assert served() == expected
    settings.MAX_BOT_TOKEN = ""
    assert served().startswith("No name would be found")


def test_it_serves_a_partial_name_as_the_lookup_does(
    phases: Phases, employee: Employee, direct: FakeMax, settings: Settings
) -> None:
    phases(100, 100, 100)
    add_profile("7", "Мария", None)
    reason = "the cache has only part of the name"
    assert served() == f"The name would be Мария ({reason}), unless the direct API returned a full name."
    settings.MAX_BOT_TOKEN = ""
    assert served() == f"A new employee would be named Мария: {reason}."
    add_profile("7", "Мария", "")
    assert served() == "A new employee would be named Мария: the cache has a fresh name from MAX."


def test_the_answer_of_the_direct_api_is_used(phases: Phases, employee: Employee, direct: FakeMax) -> None:
    phases(100, 100, 100)
    add_profile("7", "Мария", None)
    direct.knows(PHONE, 7)
    match = person.find(PHONE, asks_api=True)
    assert match
    assert match.lookup
    assert match.lookup["served"] == "A new employee would be named Олег Сидоров: the direct API returned the name."


def test_a_rule_for_the_university_applies(phases: Phases, employee: Employee) -> None:
    phases(100, 100, 100)
    add_profile("7", "Мария", "Кузнецова")
    UniversityRule.objects.create(university_id=employee.university_id, phase=3, reason="r")
    forget_state()
    assert "Мария" not in served()


def test_it_finds_by_max_id(employee: Employee) -> None:
    match = person.find("7")
    assert match
    assert match.employee == employee


@pytest.mark.parametrize("max_id", [None, "7"])
def test_the_page_shows_an_employee_without_a_profile(
    operator: Client, university: University, max_id: str | None
) -> None:
    Employee.objects.create(phone=PHONE, max_id=max_id, last_name="Петров", university=university)
    content = operator.post("/admin/person/", {"who": PHONE}).content.decode()
    assert "Петров" in content
    assert f"<dd>{max_id or '—'}</dd>" in content


def test_the_page_shows_a_phone_that_nobody_has(operator: Client) -> None:
    answer = operator.post("/admin/person/", {"who": PHONE})
    assert answer.status_code == 200
    assert answer.context["match"].max_id == ""


def test_the_page_shows_the_phone_of_an_erased_person(operator: Client, employee: Employee) -> None:
    add_profile("7", "Мария", "Кузнецова")
    erase("7", by="tester", reason="they asked")
    answer = operator.post("/admin/person/", {"who": PHONE})
    assert answer.status_code == 200
    assert "Мария" not in answer.content.decode()


def test_it_finds_nobody() -> None:
    assert person.find("нет такого") is None


def test_it_refuses_without_its_own_permission(client: Client) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_screens"))
    client.force_login(viewer)
    assert client.post("/admin/person/", {"who": PHONE}).status_code == 403


def test_users_with_a_membership_find_its_people_only(client: Client, employee: Employee) -> None:
    add_profile("7")
    add_profile("8")
    Employee.objects.create(phone="+79160000001", max_id="8", university=University.objects.create(name="Другой"))
    own = User.objects.create_user("own", is_staff=True)
    own.groups.add(Group.objects.get(name="operator"))
    Membership.objects.create(user=own, university=employee.university)
    client.force_login(own)
    for theirs, foreign in ((PHONE, "+79160000001"), ("7", "8"), (PHONE, "+79160000002")):
        assert client.post("/admin/person/", {"who": theirs}).context["match"]
        assert client.post("/admin/person/", {"who": foreign}).context["match"] is None
    assert [profile.pk for profile in client.get("/admin/profiles/profile/").context["cl"].result_list] == ["7"]
    assert client.get("/admin/profiles/profile/7/change/").status_code == 200
    assert client.get("/admin/profiles/profile/8/change/").status_code == 302


def test_a_shared_max_id_finds_the_employee_in_the_scope(client: Client, university: University) -> None:
    other = University.objects.create(name="Другой")
    Employee.objects.create(phone="+79160000001", max_id="7", last_name="Чужак", university=other)
    Employee.objects.create(phone=PHONE, max_id="7", last_name="Свой", university=university)
    own = User.objects.create_user("own", is_staff=True)
    own.groups.add(Group.objects.get(name="operator"))
    Membership.objects.create(user=own, university=university)
    client.force_login(own)
    client.cookies["django_language"] = "en"
    page = client.post("/admin/person/", {"who": "7"}).content.decode()
    assert ("Свой" in page, "Чужак" in page) == (True, False)
    page = client.post("/admin/person/", {"who": "+79160000001"}).content.decode()
    assert ("Nobody at your university has this phone" in page, "This is not a phone" in page) == (True, False)
