"""Entering the MAX ID of another university's person for an own employee does not make that profile visible."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from employees.accounts import permission_scope
from employees.history.models import EmployeeVersion
from employees.models import Employee, MaxIdClaim, Membership, University
from profiles.models import DirectAnswer, PhoneLink
from tests.conftest import client_of
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]
ME, VICTIM = "+12025550100", "8"


@pytest.fixture
def member(university: University) -> User:
    """A curator who is an operator of the admin and answers for personal data, all for one university."""
    user = User.objects.create_user("member", is_staff=True)
    groups = ("curator", "operator", "data_protection_officer")
    user.groups.add(*(Group.objects.get(name=name) for name in groups))
    Membership.objects.create(user=user, university=university)
    return user


@pytest.fixture
def curator(member: User) -> APIClient:
    return client_of(member)


@pytest.fixture
def victim(db: None) -> Employee:
    add_profile(VICTIM, "Чужая", "Тайна")
    return Employee.objects.create(
        phone="+12025550108", max_id=VICTIM, university=University.objects.create(name="Чужой")
    )


@pytest.fixture
def employee(university: University) -> Employee:
    return Employee.objects.create(phone=ME, first_name="Я", last_name="Я", university=university)


def sees(client: APIClient, member: User) -> bool:
    """Return whether the API and the admin show the profile; they must agree."""
    browser = Client()
    browser.force_login(member)
    shown: list[bool] = [
        client.get(f"/profiles/{VICTIM}").json()["source"] == "webhook",
        client.get("/profiles/stats").json()["total_profiles"] == 1,
        browser.get(f"/admin/profiles/profile/{VICTIM}/change/").status_code == 200,
        "Тайна" in browser.post("/admin/person/", {"who": ME}).content.decode(),
        "Тайна" in browser.post("/admin/person/export/", {"phone": ME}, follow=True).content.decode(),
    ]
    assert len(set(shown)) == 1, shown
    return shown[0]


def patch(client: APIClient, employee: Employee, **fields: Any) -> None:
    assert client.patch(f"/employees/{employee.pk}", fields, format="json").status_code == 200


def test_it_works(curator: APIClient, member: User, victim: Employee, employee: Employee) -> None:
    patch(curator, employee, max_id=VICTIM)
    assert not sees(curator, member)
    version = EmployeeVersion.objects.filter(id=employee.pk).latest("history_date")
    assert (version.max_id, version.history_user) == (VICTIM, member)


def test_a_claim_of_a_superadmin_is_one_too(
    curator: APIClient, member: User, victim: Employee, employee: Employee, superadmin: User
) -> None:
    patch(client_of(superadmin), employee, max_id=VICTIM)
    assert MaxIdClaim.objects.get().is_vouched
    assert not sees(curator, member)


def test_an_imported_claim_is_one_too(
    curator: APIClient, member: User, victim: Employee, employee: Employee, tmp_path: Path
) -> None:
    file = tmp_path / "people.csv"
    file.write_text(f"phone,max_id\n{ME},{VICTIM}\n")
    call_command("import_employees", str(file), stdout=StringIO())
    assert MaxIdClaim.objects.get().is_vouched
    assert not sees(curator, member)


def test_a_claim_by_post_is_one_too(curator: APIClient, member: User, victim: Employee) -> None:
    body = {"phone": ME, "max_id": VICTIM, "first_name": "Я", "last_name": "Я"}
    assert curator.post("/employees", body, format="json").status_code == 201
    assert not sees(curator, member)


@pytest.mark.long
def test_a_claim_in_the_admin_is_one_too(
    curator: APIClient, member: User, victim: Employee, employee: Employee
) -> None:
    browser = Client()
    browser.force_login(member)
    form = {"phone": ME, "first_name": "Я", "last_name": "Я", "university": employee.university_id}
    path = f"/admin/employees/employee/{employee.pk}/change/"
    assert browser.post(path, form | {"max_id": VICTIM}).status_code == 302
    assert not sees(curator, member)
    employee.delete()
    assert browser.post("/admin/employees/employee/add/", form | {"max_id": VICTIM}).status_code == 302
    assert not sees(curator, member)


@pytest.mark.parametrize("verb", ["put", "post", "delete"])
def test_a_claimed_person_can_be_neither_changed_nor_erased(
    curator: APIClient, member: User, victim: Employee, employee: Employee, superadmin: User, verb: str
) -> None:
    member.user_permissions.set([])
    patch(curator, employee, max_id=VICTIM)
    path = f"/profiles/{VICTIM}" + ("/name" if verb == "post" else "")
    status = getattr(curator, verb)(path, {"name": "Я", "max_first_name": "Я"}, format="json").status_code
    assert status == (404 if verb == "delete" else 403)
    assert client_of(superadmin).get(f"/profiles/{VICTIM}").json()["display_name"] == "Чужая Тайна"


@pytest.mark.long
def test_a_phone_link_ties_the_profile(curator: APIClient, member: User, victim: Employee, employee: Employee) -> None:
    patch(curator, employee, max_id=VICTIM)
    PhoneLink.objects.create(phone=ME, user_id=VICTIM, observed_at=timezone.now())
    assert sees(curator, member)


@pytest.mark.long
def test_the_direct_api_ties_the_profile(
    curator: APIClient, member: User, victim: Employee, employee: Employee
) -> None:
    DirectAnswer.objects.create(phone=ME, user_id=VICTIM, asked_at=timezone.now(), outcome="found")
    patch(curator, employee, max_id=VICTIM)
    assert sees(curator, member)


def test_an_employee_created_with_it_by_a_superadmin(
    api: APIClient, curator: APIClient, member: User, university: University
) -> None:
    add_profile(VICTIM, "Чужая", "Тайна")
    body = {"phone": ME, "max_id": VICTIM, "first_name": "Я", "last_name": "Я", "university_id": university.pk}
    assert api.post("/employees", body, format="json").status_code == 201
    assert permission_scope(member).knows(VICTIM)
    assert curator.get(f"/profiles/{VICTIM}").json()["display_name"] == "Чужая Тайна"


def test_a_later_claim_hides_what_was_tied(
    curator: APIClient, member: User, victim: Employee, employee: Employee
) -> None:
    Employee.objects.filter(pk=employee.pk).update(max_id="9")
    patch(curator, employee, max_id=VICTIM)
    assert not permission_scope(member).knows("9")
    assert not sees(curator, member)
