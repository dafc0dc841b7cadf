"""A directory longer than can be counted and paged: what its list says, selects and deletes."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from config.lib.http import pagination
from employees.admin import directory as directory_admin
from employees.models import Employee, University
from employees.models import employee as employee_module

pytestmark = pytest.mark.django_db
LIST = "/admin/employees/employee/"
BEYOND = "Use search or filters to find the others"


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


@pytest.fixture
def long(university: University, monkeypatch: pytest.MonkeyPatch) -> None:
    Employee.objects.bulk_create(Employee(phone=f"+7916{n:07}", university=university) for n in range(150))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE employees")
    for module in (pagination, employee_module):
        monkeypatch.setattr(module, "EXACT", 120)


def actions(page: str) -> str:
    return re.sub(r"\s+", " ", page.split('id="changelist-actions"')[1].split("</form>", maxsplit=1)[0])


@pytest.mark.usefixtures("long")
def test_it_works(admin: Client) -> None:
    page = admin.get(LIST).content.decode()
    assert "Only the first 120 rows can be browsed page by page. Use search or filters to find the others." in page
    buttons = actions(page)
    assert ("Select all results" in buttons, "All results are selected" in buttons) == (True, True)
    assert not re.search(r"(Select all|All) \d", buttons)
    assert BEYOND in admin.get(LIST, {"p": 201}, follow=True).content.decode()


def test_a_counted_list_shows_its_number(admin: Client, university: University) -> None:
    Employee.objects.bulk_create(Employee(phone=f"+7916{n:07}", university=university) for n in range(60))
    page = admin.get(LIST).content.decode()
    assert "Select all 60 employees" in actions(page)
    assert "All 60 selected" in actions(page)
    assert BEYOND not in page


@pytest.mark.parametrize("most", [2, 3])
def test_it_deletes_no_more_than_can_be_read(
    admin: Client, university: University, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(directory_admin, "MAX_DELETED", most)
    Employee.objects.bulk_create(Employee(phone=f"+7916{n:07}", university=university) for n in range(3))
    first = Employee.objects.values_list("pk", flat=True)[0]
    form = {"action": "delete_selected", "_selected_action": [first], "select_across": "1"}
    page = admin.post(LIST, form).content.decode()
    assert ("At most 2 can be deleted at once" in page, page.count("+7916") > 0) == (most == 2, False)
    admin.post(LIST, form | {"post": "yes"})
    assert Employee.objects.count() == (3 if most == 2 else 0)
