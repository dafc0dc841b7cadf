"""A data protection officer of one university erases only people who are employed nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from employees import max_id_claims, person_export
from employees.accounts import Group as EmployeeGroup
from employees.accounts import UserScope
from employees.backfill import batches
from employees.history.models import EmployeeVersion
from employees.models import BackfillBatch, Employee, Membership, University
from employees.naming import create_employee
from profiles.models import DirectAnswer, Erasure, PhoneLink, Profile, Tombstone
from profiles.name_rule import NameChoice
from tests.conftest import client_of
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]
ID, HERE, THERE = "8", "+12025550101", "+12025550102"
PAGE = "/admin/profiles/profile/"


@pytest.fixture
def user(university: University) -> User:
    user = User.objects.create_user("officer", is_staff=True)
    user.groups.add(Group.objects.get(name="data_protection_officer"))
    Membership.objects.create(user=user, university=university)
    return user


@pytest.fixture
def officer(user: User) -> APIClient:
    return client_of(user)


@pytest.fixture
def browser(user: User) -> Client:
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client


@pytest.fixture
def other(db: None) -> University:
    return University.objects.create(name="Чужой вуз")


@pytest.fixture
def employee(university: University) -> Employee:
    add_profile(ID, "Анна", "Ким")
    return Employee.objects.create(phone=HERE, max_id=ID, first_name="Анна", university=university)


def test_it_works(officer: APIClient, employee: Employee) -> None:
    assert officer.delete(f"/profiles/{ID}").status_code == 204
    employee.refresh_from_db()
    assert employee.first_name == "Неизвестно"


def by_max_id(other: University) -> Employee:
    return Employee.objects.create(phone=THERE, max_id=ID, first_name="Анна", university=other)


def by_phone_link(other: University) -> Employee:
    PhoneLink.objects.create(phone=THERE, user_id=ID, observed_at=timezone.now())
    return Employee.objects.create(phone=THERE, first_name="Анна", university=other)


def deleted(other: University) -> None:
    by_max_id(other).delete()


def earlier_phone(other: University) -> Employee:
    employee = by_phone_link(other)
    employee.phone = "+12025550103"
    employee.save()
    return employee


ELSEWHERE: list[Callable[[University], Employee | None]] = [by_max_id, by_phone_link, deleted, earlier_phone]


@pytest.mark.long
@pytest.mark.parametrize("employ", ELSEWHERE)
def test_the_api_refuses_a_person_of_two_universities(
    officer: APIClient, employee: Employee, other: University, employ: Callable[[University], Employee | None]
) -> None:
    foreign = employ(other)
    answer = officer.delete(f"/profiles/{ID}", headers={"accept-language": "en"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert "employed at another university" in answer.json()["error"]["message"]
    assert other.name not in answer.content.decode()
    assert not Erasure.objects.exists()
    assert not Tombstone.objects.exists()
    for row in filter(None, (employee, foreign)):
        row.refresh_from_db()
        assert row.first_name == "Анна"


@pytest.mark.long
def test_the_admin_refuses_too(browser: Client, employee: Employee, other: University) -> None:
    by_max_id(other)
    add_profile("9")
    Employee.objects.create(phone="+12025550109", max_id="9", university=employee.university)
    chosen = {"action": "delete_selected", "_selected_action": [ID, "9"], "post": "yes", "reason": "asked to"}
    for path, form in ((f"{ID}/delete/", {"post": "yes", "reason": "asked to"}), ("", chosen)):
        page = browser.post(f"{PAGE}{path}", form)
        assert page.status_code == 200
        assert "employed at another university" in page.content.decode()
        assert other.name not in page.content.decode()
        assert 'name="reason"' not in page.content.decode()
    assert set(Profile.objects.values_list("pk", flat=True)) == {ID, "9"}
    assert browser.post(PAGE, chosen | {"_selected_action": ["9"]}).status_code == 302
    assert set(Profile.objects.values_list("pk", flat=True)) == {ID}


@pytest.mark.long
@pytest.mark.parametrize("surface", ["api", "command"])
def test_without_a_limit_both_lose_the_name(
    api: APIClient, user: User, employee: Employee, other: University, surface: str
) -> None:
    foreign = by_max_id(other)
    Membership.objects.all().delete()
    if surface == "api":
        assert client_of(User.objects.get(pk=user.pk)).delete(f"/profiles/{ID}").status_code == 204
    else:
        call_command("erase_person", "--user-id", ID, "--reason", "asked to")
    for row in (employee, foreign):
        row.refresh_from_db()
        assert row.first_name == "Неизвестно"


def test_an_employee_who_moved_here_is_no_other_person(
    officer: APIClient, university: University, other: University
) -> None:
    add_profile(ID, "Анна", "Ким")
    employee = by_max_id(other)
    employee.university = university
    employee.save()
    assert officer.delete(f"/profiles/{ID}").status_code == 204


def test_a_phone_of_somebody_else_now_is_left_alone(officer: APIClient, employee: Employee, other: University) -> None:
    """The phone that the person had before belongs to a new employee elsewhere."""
    employee.phone = "+12025550111"
    employee.save()
    newcomer = Employee.objects.create(phone=HERE, first_name="Новая", university=other)
    assert officer.delete(f"/profiles/{ID}").status_code == 204
    newcomer.refresh_from_db()
    assert newcomer.first_name == "Новая"
    assert newcomer.history.get().first_name == "Новая"  # type: ignore[attr-defined]


def test_an_erasure_follows_no_other_id(api: APIClient, employee: Employee, other: University) -> None:
    """The direct API gives another MAX ID for the phone, which is that of another employee."""
    DirectAnswer.objects.create(phone=HERE, user_id="9", asked_at=timezone.now(), outcome="found")
    colleague = Employee.objects.create(phone=THERE, max_id="9", first_name="Ольга", university=other)
    assert api.delete(f"/profiles/{ID}").status_code == 204
    colleague.refresh_from_db()
    assert colleague.first_name == "Ольга"


def create_with_claim(university: University) -> Employee:
    name = NameChoice("Ольга", "Ким", max_id=ID)
    return create_employee(name, has_claimed_id=True, phone=THERE, university=university)


def claim_later(university: University) -> Employee:
    employee = Employee.objects.create(phone=THERE, first_name="Ольга", last_name="Ким", university=university)
    claim(employee)
    return employee


def claim(employee: Employee) -> None:
    employee.max_id, employee.max_id_updated_at = ID, timezone.now()
    employee.save()
    max_id_claims.record(employee, is_limited=True)


def keep(employee: Employee) -> None:
    """Leave the claim as it is."""


def replace(employee: Employee) -> None:
    employee.max_id, employee.max_id_updated_at = "10", timezone.now()
    employee.save()
    max_id_claims.record(employee, is_limited=False)


def clear(employee: Employee) -> None:
    employee.max_id, employee.max_id_updated_at = None, timezone.now()
    employee.save()
    max_id_claims.record(employee, is_limited=True)


def delete(employee: Employee) -> None:
    employee.delete()


def replace_and_delete(employee: Employee) -> None:
    replace(employee)
    employee.delete()


@pytest.mark.long
@pytest.mark.parametrize("end", [keep, replace, clear, delete, replace_and_delete])
@pytest.mark.parametrize(
    # If the ID is nobody else's, it is that of the employee who was created with it.
    ("enter", "is_former"),
    [(claim_later, False), (claim_later, True), (create_with_claim, False)],
)
def test_a_claim_concerns_nobody_else(
    officer: APIClient,
    api: APIClient,
    employee: Employee,
    other: University,
    enter: Callable[[University], Employee],
    end: Callable[[Employee], None],
    is_former: bool,
) -> None:
    """Not even after it has ended, or if the person is a former employee, so that nobody else has the ID now."""
    stranger = enter(other)
    stranger_id = stranger.pk
    before, after = (["Ольга", "Ким", "", "manual", None, max_id] for max_id in (None, ID))
    changes = [[stranger_id, before, after], [employee.pk, before[:1] * 5 + [ID], after]]
    batches.start().batches.create(after_id=0, until_id=stranger_id, rows_changed=2, changes=changes)
    end(stranger)
    if is_former:
        employee.delete()
    person = person_export.identify(UserScope(EmployeeGroup.SUPERADMIN), user_id=ID)
    assert person is not None
    document = person_export.as_json(person, person_export.export(person, by="t"))
    assert HERE in document
    assert not [value for value in (THERE, "Ким Ольга", f"[{stranger_id}") if value in document]
    client = api if is_former else officer
    assert client.delete(f"/profiles/{ID}").status_code == 204
    versions = EmployeeVersion.objects.filter(id=stranger_id)
    assert set(versions.values_list("first_name", flat=True)) == {"Ольга"}
    assert set(Employee.objects.filter(pk=stranger_id).values_list("first_name", flat=True)) <= {"Ольга"}
    assert BackfillBatch.objects.get().changes == changes[:1]


def test_a_mistyped_id_concerns_nobody_else(officer: APIClient, employee: Employee, other: University) -> None:
    stranger = Employee.objects.create(phone=THERE, first_name="Ольга", last_name="Ким", university=other)
    for stranger.max_id in (ID, "9"):
        stranger.save()
    person = person_export.identify(UserScope(EmployeeGroup.SUPERADMIN), user_id=ID)
    assert person is not None
    assert THERE not in person_export.as_json(person, person_export.export(person, by="t"))
    assert officer.delete(f"/profiles/{ID}").status_code == 204
    stranger.refresh_from_db()
    names = set(stranger.history.values_list("first_name", flat=True))  # type: ignore[attr-defined]
    assert (stranger.first_name, names) == ("Ольга", {"Ольга"})


def test_a_former_claim_that_the_direct_api_confirmed_is_the_persons(employee: Employee, other: University) -> None:
    stranger = Employee.objects.create(phone=THERE, first_name="Ольга", last_name="Ким", university=other)
    claim(stranger)
    DirectAnswer.objects.create(phone=THERE, user_id=ID, asked_at=timezone.now(), outcome="found")
    max_id_claims.forget_confirmed(stranger)
    stranger.delete()
    employee.delete()
    DirectAnswer.objects.all().delete()
    person = person_export.identify(UserScope(EmployeeGroup.SUPERADMIN), user_id=ID)
    assert person is not None
    assert THERE in person_export.as_json(person, person_export.export(person, by="t"))
