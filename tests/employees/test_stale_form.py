"""An employee's page that was opened before somebody else saved: only what its reader touched is saved."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from employees.models import Employee, University

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


@pytest.fixture
def employee(university: University) -> Employee:
    return Employee.objects.create(phone="+79165550142", profile_source="default", university=university)


def change(employee: Employee) -> str:
    return f"/admin/employees/employee/{employee.pk}/change/"


def shown(page: str) -> dict[str, str]:
    """Return what a browser sends of the page as it was shown, its hidden fields as they stand in the HTML."""
    fields = {}
    for part in page.split("<input")[1:]:
        tag = part.split(">")[0]
        if 'name="initial-' in tag:
            name = tag.split('name="')[1].split('"')[0]
            fields[name] = tag.split('value="')[1].split('"')[0] if 'value="' in tag else ""
    return fields | {name.removeprefix("initial-"): value for name, value in fields.items()}


def opened(admin: Client, employee: Employee) -> dict[str, str]:
    return shown(admin.get(change(employee)).content.decode())


def test_it_works(admin: Client, employee: Employee) -> None:
    form = opened(admin, employee)
    assert form["initial-last_name"] == "Неизвестно"
    found = {"first_name": "Анна", "last_name": "Ким", "profile_source": "webhook", "max_id": "7"}
    Employee.objects.filter(pk=employee.pk).update(**found)
    assert admin.post(change(employee), form | {"role": "operator"}).status_code == 302
    assert Employee.objects.filter(pk=employee.pk, role="operator", **found).exists()


def test_changes_of_different_fields_do_not_conflict(admin: Client, employee: Employee) -> None:
    other = University.objects.create(name="Другой")
    one, two = opened(admin, employee), opened(admin, employee)
    assert admin.post(change(employee), one | {"university": str(other.pk), "phone": "8 916 555-01-43"})
    assert admin.post(change(employee), two | {"middle_name": "Львовна"}).status_code == 302
    employee.refresh_from_db()
    assert (employee.university, employee.phone, employee.middle_name) == (other, "+79165550143", "Львовна")


@pytest.mark.parametrize(
    ("field", "theirs", "mine", "shown_as"),
    [("last_name", "Ким", "Пак", "Ким"), ("role", "curator", "operator", "curator"), ("max_id", "7", "8", "7")],
)
def test_it_refuses_what_somebody_else_changed(
    admin: Client, employee: Employee, field: str, theirs: str, mine: str, shown_as: str
) -> None:
    form = opened(admin, employee) | {field: mine, "middle_name": "Львовна"}
    Employee.objects.filter(pk=employee.pk).update(**{field: theirs})
    page = admin.post(change(employee), form)
    errors = page.context["adminform"].form.errors
    assert list(errors) == [field]
    assert f"Someone else has changed this field to “{shown_as}”." in errors[field][0]
    employee.refresh_from_db()
    assert (getattr(employee, field), employee.middle_name) == (theirs, "")
    # Saving again overrides.
    assert admin.post(change(employee), form | {f"initial-{field}": theirs}).status_code == 302
    assert shown(page.content.decode())[f"initial-{field}"] == theirs
    employee.refresh_from_db()
    assert (getattr(employee, field), employee.middle_name) == (mine, "Львовна")


def test_equal_changes_do_not_conflict(admin: Client, employee: Employee) -> None:
    form = opened(admin, employee) | {"last_name": "Ким"}
    Employee.objects.filter(pk=employee.pk).update(last_name="Ким")
    assert admin.post(change(employee), form).status_code == 302


def test_it_works_without_the_shown_values(admin: Client, employee: Employee) -> None:
    form = {name: value for name, value in opened(admin, employee).items() if not name.startswith("initial-")}
    assert admin.post(change(employee), form | {"role": "operator"}).status_code == 302
    employee.refresh_from_db()
    assert (employee.role, employee.profile_source) == ("operator", "default")
