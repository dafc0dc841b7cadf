"""PUT, PATCH and DELETE: what they change, and what they never blank."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from employees.import_export.resources import EmployeeResource
from employees.import_export.tables import read_csv
from employees.models import Employee, University

pytestmark = pytest.mark.django_db


@pytest.fixture
def employee(university: University) -> Employee:
    return Employee.objects.create(
        phone="+12025550100",
        first_name="Иван",
        last_name="Петров",
        middle_name="Ильич",
        max_id="7",
        university=university,
        profile_source="webhook",
        profile_last_updated="2026-01-01T00:00:00Z",
    )


def patch(api: APIClient, employee: Employee, **fields: Any) -> Any:
    return api.patch(f"/employees/{employee.pk}", fields, format="json")


def test_it_works(api: APIClient, employee: Employee) -> None:
    answer = patch(api, employee, first_name="Пётр", phone="8 916 123-45-67")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["first_name"], body["last_name"], body["phone"]) == ("Пётр", "Петров", "+79161234567")
    assert (body["profile_source"], body["profile_last_updated"]) == ("manual", None)
    assert api.get(f"/employees/{employee.pk}").json() == body


@pytest.mark.parametrize("field", ["first_name", "last_name", "middle_name"])
@pytest.mark.parametrize("verb", ["put", "patch"])
def test_a_changed_name_is_manual(api: APIClient, employee: Employee, verb: str, field: str) -> None:
    answer = getattr(api, verb)(f"/employees/{employee.pk}", {"phone": employee.phone, field: "Новое"}, format="json")
    assert (answer.json()[field], answer.json()["profile_source"]) == ("Новое", "manual")


@pytest.mark.parametrize("verb", ["put", "patch"])
def test_it_never_blanks(api: APIClient, employee: Employee, verb: str) -> None:
    blanks = {"first_name": "", "last_name": "", "middle_name": " ", "max_id": "", "role": ""}
    answer = getattr(api, verb)(f"/employees/{employee.pk}", {"phone": employee.phone} | blanks, format="json")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["first_name"], body["last_name"], body["middle_name"]) == ("Иван", "Петров", "Ильич")
    assert (body["max_id"], body["profile_source"]) == ("7", "webhook")
    assert patch(api, employee, max_id=None).json()["max_id"] == "7"
    assert body["profile_last_updated"]


@pytest.mark.long
@pytest.mark.parametrize("max_id", ["TBD", "no", "n.a.", "TRUE", "2024-01-05", "-unknown-", "1.5", "yes"])
def test_a_stored_id_of_an_earlier_release_may_stay(
    api: APIClient, employee: Employee, client: Client, superadmin: User, max_id: str
) -> None:
    Employee.objects.update(max_id=max_id)
    client.force_login(superadmin)
    whole = api.get(f"/employees/{employee.pk}").json()
    for answer in (api.put(f"/employees/{employee.pk}", whole, format="json"), patch(api, employee, max_id=max_id)):
        assert (answer.status_code, answer.json()["max_id"]) == (200, max_id)
    refused = patch(api, employee, max_id="null")
    assert (refused.status_code, "leave the field empty" in str(refused.json())) == (400, False)
    page = f"/admin/employees/employee/{employee.pk}/change/"
    form = dict(client.get(page).context["adminform"].form.initial)
    form = {name: value for name, value in form.items() if value is not None} | {"last_name": "Ли"}
    assert client.post(page, form).status_code == 302
    employee.refresh_from_db()
    assert (employee.last_name, employee.max_id) == ("Ли", max_id)
    resource = EmployeeResource(university=employee.university)
    table = read_csv(resource.export(Employee.objects.all()).csv.encode())
    assert resource.import_data(table, dry_run=True).totals["skip"] == 1
    assert client.post(page, form | {"max_id": ""}).status_code == 302
    employee.refresh_from_db()
    assert employee.max_id is None


def test_the_same_names_keep_their_source(api: APIClient, employee: Employee) -> None:
    same = {"phone": employee.phone, "first_name": "Иван", "last_name": "Петров"}
    assert api.put(f"/employees/{employee.pk}", same, format="json").json()["profile_source"] == "webhook"


def test_a_new_max_id_is_dated(api: APIClient, employee: Employee) -> None:
    body = patch(api, employee, max_id=8).json()
    assert body["max_id"] == "8"
    assert body["max_id_updated_at"]


@pytest.mark.parametrize("verb", ["put", "patch"])
def test_it_keeps_every_absent_field(api: APIClient, employee: Employee, verb: str) -> None:
    change = getattr(api, verb)
    before = api.get(f"/employees/{employee.pk}").json()
    assert change(f"/employees/{employee.pk}", {}, format="json").json() == before
    body = change(f"/employees/{employee.pk}", {"role": "operator"}, format="json").json()
    assert body | {"updated_at": ""} == before | {"role": "operator", "updated_at": ""}


@pytest.mark.parametrize("verb", ["put", "patch"])
@pytest.mark.parametrize("phone", ["", None, "12"])
def test_it_refuses_an_invalid_phone(api: APIClient, employee: Employee, verb: str, phone: object) -> None:
    answer = getattr(api, verb)(f"/employees/{employee.pk}", {"phone": phone}, format="json")
    assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, ["phone"])


def test_it_refuses_anothers_phone(api: APIClient, employee: Employee, university: University) -> None:
    Employee.objects.create(phone="+12025550101", university=university)
    answer = patch(api, employee, phone="+12025550101")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ALREADY_EXISTS")


def test_it_deletes(api: APIClient, employee: Employee) -> None:
    assert api.delete(f"/employees/{employee.pk}").status_code == 204
    assert api.delete(f"/employees/{employee.pk}").status_code == 404


def test_by_max_id_takes_the_lowest(api: APIClient, employee: Employee, university: University) -> None:
    Employee.objects.create(phone="+12025550101", max_id="7", university=university)
    assert api.get("/employees/by-max-id/7").json()["id"] == employee.pk
    assert api.get("/employees/by-max-id/8").status_code == 404
    assert api.get("/employees/by-max-id/007").status_code == 400


def test_universities(api: APIClient) -> None:
    made = api.post("/universities", {"name": "МГУ", "inn": "7701234567", "kpp": "770101001"}, format="json")
    assert made.status_code == 201
    again = api.post("/universities", {"name": "Другой", "inn": "7701234567", "kpp": "770101001"}, format="json")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "ALREADY_EXISTS")
    assert api.get("/universities").json()["count"] == 1
    assert api.post("/universities", {"inn": "1"}, format="json").status_code == 400
