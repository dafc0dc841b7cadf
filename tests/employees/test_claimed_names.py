"""A MAX ID that was only claimed gives the employee no name of another person, on any surface that sets names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from employees.backfill import batches
from employees.models import Employee, MaxIdClaim, Membership, University, UnresolvedName
from employees.naming import refresh, retry_unresolved
from monitoring.rollout_control import preview
from profiles.models import PhoneLink
from profiles.name_rule import NameReason
from tests.conftest import Phases, client_of
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]
ME, VICTIM, NEWCOMER = "+12025550100", "8", "9"
UNKNOWN = ("Неизвестно", "default")


@pytest.fixture
def member(university: University) -> User:
    user = User.objects.create_user("member", is_staff=True)
    user.groups.add(*Group.objects.filter(name__in=("curator", "operator")))
    Membership.objects.create(user=user, university=university)
    return user


@pytest.fixture
def curator(member: User) -> APIClient:
    return client_of(member)


@pytest.fixture
def admin(member: User) -> Client:
    client = Client()
    client.force_login(member)
    return client


@pytest.fixture
def other(db: None) -> University:
    return University.objects.create(name="Чужой")


@pytest.fixture(params=["id", "phone link"])
def victim(request: pytest.FixtureRequest, other: University) -> str:
    """Return the MAX ID of another university's employee, tied by the row or only by a shared phone."""
    add_profile(VICTIM, "Чужая", "Тайна")
    phone = "+12025550108"
    Employee.objects.create(phone=phone, max_id=VICTIM if request.param == "id" else None, university=other)
    if request.param != "id":
        PhoneLink.objects.create(phone=phone, user_id=VICTIM, observed_at=timezone.now())
    return VICTIM


@pytest.fixture
def employee(university: University) -> Employee:
    return Employee.objects.create(phone=ME, profile_source="default", university=university)


def named(employee: Employee) -> tuple[str, str]:
    employee.refresh_from_db()
    return employee.first_name, employee.profile_source


def create(client: APIClient, max_id: str, **fields: Any) -> Employee:
    answer = client.post("/employees", {"phone": ME, "max_id": max_id} | fields, format="json")
    assert answer.status_code == 201, answer.json()
    return Employee.objects.get(pk=answer.json()["id"])


def backfill(_employee: Employee) -> None:
    run = batches.start(replaces_names=True)
    while batches.run_batch(run):
        pass


def retry(employee: Employee) -> None:
    UnresolvedName.objects.update_or_create(employee=employee, defaults={"next_try_at": timezone.now()})
    retry_unresolved(float("inf"))


SETTERS: list[Callable[[Employee], object]] = [lambda employee: refresh(employee.pk), backfill, retry]


def patch_by_api(curator: APIClient, admin: Client, employee: Employee, max_id: str) -> None:
    assert curator.patch(f"/employees/{employee.pk}", {"max_id": max_id}, format="json").status_code == 200


def patch_by_form(curator: APIClient, admin: Client, employee: Employee, max_id: str) -> None:
    form = {
        "phone": ME,
        "first_name": "Неизвестно",
        "last_name": "Неизвестно",
        "university": employee.university_id,
        "max_id": max_id,
    }
    assert admin.post(f"/admin/employees/employee/{employee.pk}/change/", form).status_code == 302


def test_it_works(curator: APIClient, admin: Client, employee: Employee, victim: str) -> None:
    patch_by_api(curator, admin, employee, victim)
    chosen = {"action": "refresh_from_cache", "_selected_action": employee.pk}
    page = admin.post("/admin/employees/employee/", chosen, follow=True, headers={"accept-language": "en"})
    assert "Names refreshed from the cache: 0 of 1." in page.content.decode()
    assert named(employee) == UNKNOWN


@pytest.mark.parametrize("set_name", SETTERS)
@pytest.mark.parametrize("claim", [patch_by_api, patch_by_form])
@pytest.mark.parametrize("is_employed", [True, False])
def test_a_later_claim_gives_no_name_until_it_is_confirmed(
    curator: APIClient,
    admin: Client,
    employee: Employee,
    claim: Callable[..., None],
    set_name: Callable[[Employee], object],
    is_employed: bool,
    request: pytest.FixtureRequest,
) -> None:
    """Whether the ID is that of another university's employee, or of somebody who is in no directory."""
    add_profile(VICTIM, "Чужая", "Тайна")
    if is_employed:
        Employee.objects.create(phone="+12025550108", max_id=VICTIM, university=request.getfixturevalue("other"))
    claim(curator, admin, employee, VICTIM)
    set_name(employee)
    assert named(employee) == UNKNOWN
    assert str(NameReason.CLAIMED.label) in preview.explain(ME)["served"]
    PhoneLink.objects.create(phone=ME, user_id=VICTIM, observed_at=timezone.now())
    set_name(employee)
    assert named(employee) == ("Чужая", "webhook")


def test_a_create_with_the_id_of_a_newcomer_gets_the_name(curator: APIClient) -> None:
    add_profile(NEWCOMER, "Анна", "Ким")
    employee = create(curator, NEWCOMER)
    assert named(employee) == ("Анна", "webhook")
    add_profile(NEWCOMER, "Инна", "Ким")
    assert refresh(employee.pk)
    assert named(employee) == ("Инна", "webhook")


@pytest.mark.parametrize("set_name", SETTERS)
def test_a_create_with_the_id_of_anothers_employee_gets_none(
    curator: APIClient, victim: str, set_name: Callable[[Employee], object]
) -> None:
    employee = create(curator, victim)
    assert named(employee) == UNKNOWN
    set_name(employee)
    assert named(employee) == UNKNOWN
    # A lone given name is kept, and the missing part does not come from the profile either.
    employee.delete()
    employee = create(curator, victim, first_name="Я")
    assert (employee.first_name, employee.last_name) == ("Я", "Неизвестно")


def test_a_create_in_the_admin_is_the_same(admin: Client, university: University, victim: str) -> None:
    add_profile(NEWCOMER, "Анна", "Ким")
    for number, (max_id, expected) in enumerate([(victim, UNKNOWN), (NEWCOMER, ("Анна", "webhook"))]):
        form = {"phone": f"+1202555017{number}", "university": university.pk, "max_id": max_id}
        assert admin.post("/admin/employees/employee/add/", form).status_code == 302
        assert named(Employee.objects.get(phone=form["phone"])) == expected


def test_a_shared_phone_confirms_it_at_the_create(curator: APIClient, victim: str) -> None:
    PhoneLink.objects.create(phone=ME, user_id=VICTIM, observed_at=timezone.now())
    assert named(create(curator, victim)) == ("Чужая", "webhook")


@pytest.mark.parametrize(("answered", "expected"), [(8, ("Чужая", "webhook")), (5, ("Иной", "api"))])
def test_the_direct_api_confirms_it_or_gives_its_own_name(
    curator: APIClient, victim: str, direct: FakeMax, answered: int, expected: tuple[str, str]
) -> None:
    direct.knows(ME, answered, "Иной", "Человек")
    assert named(create(curator, victim)) == expected
    assert MaxIdClaim.objects.exists() == (answered == 5)


@pytest.mark.parametrize("surface", ["create", "patch", "import"])
def test_who_sees_all_universities_vouches(
    api: APIClient, curator: APIClient, admin: Client, employee: Employee, victim: str, surface: str, tmp_path: Path
) -> None:
    """A person may work at two universities."""
    patch_by_api(curator, admin, employee, "5")
    if surface == "create":
        employee.delete()
        employee = create(api, victim, university_id=employee.university_id)
    elif surface == "patch":
        patch_by_api(api, admin, employee, victim)
    else:
        file = tmp_path / "employees.csv"
        file.write_text(f"phone,max_id\n{ME},{victim}\n")
        call_command("import_employees", str(file))
    assert not MaxIdClaim.objects.filter(is_vouched=False).exists()
    refresh(employee.pk)
    assert named(employee) == ("Чужая", "webhook")


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_no_phase_gives_the_name(
    curator: APIClient, admin: Client, employee: Employee, victim: str, phases: Phases, stage: int
) -> None:
    phases(*[100] * stage)
    patch_by_api(curator, admin, employee, victim)
    for set_name in SETTERS:
        set_name(employee)
    assert named(employee) == UNKNOWN
