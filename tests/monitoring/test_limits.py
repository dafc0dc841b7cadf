"""A membership limits its user to one university, whatever their groups let them do there."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from employees.models import Employee, Membership, University

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def member(university: University | None, *groups: str) -> Client:
    user = User.objects.create_user("-".join(("member", *groups)), is_staff=True)
    user.groups.add(*(Group.objects.get_or_create(name=name)[0] for name in groups))
    if university:
        Membership.objects.create(user=user, university=university)
    client = Client()
    client.force_login(user)
    client.cookies["django_language"] = "en"
    return client


@pytest.fixture
def other() -> University:
    return University.objects.create(name="Другой")


@pytest.fixture
def people(university: University, other: University) -> None:
    Employee.objects.create(phone="+79160000001", last_name="Свой", university=university)
    Employee.objects.create(phone="+79160000002", last_name="Чужак", university=other)


GROUPS = [
    ("viewer",), ("operator",), ("rollout_manager",), ("data_protection_officer",), ("superadmin", "viewer"),
    ("rollout_manager", "data_protection_officer"),
]  # fmt: skip


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("groups", GROUPS)
def test_it_works(university: University, groups: tuple[str, ...]) -> None:
    page = member(university, *groups).get("/admin/employees/employee/").content.decode()
    assert ("Свой" in page, "Чужак" in page) == (True, False)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("groups", GROUPS)
def test_without_one_they_look_after_everybody(groups: tuple[str, ...]) -> None:
    page = member(None, *groups).get("/admin/employees/employee/").content.decode()
    assert ("Свой" in page, "Чужак" in page) == (True, True)


@pytest.mark.usefixtures("people")
def test_it_does_not_limit_a_superuser(university: University, superadmin: User, client: Client) -> None:
    Membership.objects.create(user=superadmin, university=university)
    client.force_login(superadmin)
    assert "Чужак" in client.get("/admin/employees/employee/").content.decode()
