"""Who may see the versions of a row, and that nobody writes through them."""

from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from employees.history.models import EmployeeVersion, UniversityVersion
from employees.models import Employee, Membership, University

pytestmark = pytest.mark.django_db


def staff(client: Client, *codenames: str) -> User:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return user


def test_nothing_is_written_through_a_version(client: Client, university: University) -> None:
    employee = Employee.objects.create(phone="+12025550100", last_name="Ли", university=university)
    staff(client, "view_employee", "view_university")
    changed = {"phone": "+12025550199", "last_name": "Кто-то", "first_name": "Другой", "university": university.pk}
    for path, version, values in (
        (f"employee/{employee.pk}", EmployeeVersion.objects.get(), changed),
        (f"university/{university.pk}", UniversityVersion.objects.get(), {"name": "Другой"}),
    ):
        page = f"/admin/employees/{path}/history/"
        assert client.post(f"{page}{version.pk}/", values).status_code == HTTPStatus.NOT_FOUND
        assert client.get(f"{page}{version.pk}/").status_code == HTTPStatus.NOT_FOUND
        shown = client.get(page)
        assert shown.status_code == HTTPStatus.OK
        assert f"history/{version.pk}/" not in shown.content.decode()
    employee.refresh_from_db()
    university.refresh_from_db()
    assert (employee.last_name, university.name) == ("Ли", "Университет")


def test_versions_of_a_foreign_university_are_hidden(client: Client, university: University) -> None:
    other = University.objects.create(name="Чужой")
    own = Employee.objects.create(phone="+12025550100", university=university)
    foreign = Employee.objects.create(phone="+12025550101", university=other)
    operator = staff(client, "view_employee", "view_university")
    operator.groups.add(Group.objects.get_or_create(name="operator")[0])
    Membership.objects.create(user=operator, university=university)
    for path, status in (
        (f"employee/{own.pk}", HTTPStatus.OK),
        (f"employee/{foreign.pk}", HTTPStatus.NOT_FOUND),
        (f"university/{university.pk}", HTTPStatus.OK),
        (f"university/{other.pk}", HTTPStatus.NOT_FOUND),
    ):
        assert client.get(f"/admin/employees/{path}/history/").status_code == status, path


@pytest.mark.parametrize("model", ["employee", "university"])
@pytest.mark.parametrize("pk", ["abc", "1.5", "-1", "9" * 18, "9" * 20, "_31"])
def test_an_invalid_id_has_no_versions(client: Client, superadmin: User, model: str, pk: str) -> None:
    client.force_login(superadmin)
    assert client.get(f"/admin/employees/{model}/{pk}/history/").status_code == HTTPStatus.NOT_FOUND


def test_the_class_of_the_manager_is_defined_once() -> None:
    model: Any = Employee
    assert type(model.history) is type(model.history)
    assert type(model.history) is not type(model.objects)
