"""The university that an employee's INN, KPP and name mean, and who may create it."""

import io
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from config.lib import text as texts
from employees.models import Employee, University

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]
PHONE, INN = "+79160900099", "7729082090"
SEVERAL = "Several universities have this INN. Enter the KPP of the right one too."
ALONE = "A KPP needs an INN. Enter both, or leave the KPP empty."


def imported(tmp_path: Path, **cells: str) -> str:
    """Import one employee; return the output with the errors."""
    file, out = tmp_path / "people.csv", io.StringIO()
    file.write_text(f"phone,last_name,{','.join(cells)}\n{PHONE},Ким,{','.join(cells.values())}\n")
    with suppress(CommandError):
        call_command("import_employees", str(file), stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.parametrize("name", ["", "МГУ", "Другое имя"])
def test_an_inn_alone_means_the_only_university_that_has_it(api: APIClient, name: str, tmp_path: Path) -> None:
    known = University.objects.create(name="МГУ", inn=INN, kpp="772901001")
    body = {"phone": PHONE, "inn": INN, "university_name": name}
    created = api.post("/employees", body, format="json").json()
    assert created["university_id"] == known.pk
    other = University.objects.create(name="Другой")
    path = f"/employees/{created['id']}"
    assert api.patch(path, {"university_id": other.pk}, format="json").json()["university_id"] == other.pk
    assert api.patch(path, {"inn": INN}, format="json").json()["university_id"] == known.pk
    Employee.objects.all().delete()
    imported(tmp_path, inn=INN, university_name=name)
    assert Employee.objects.get().university == known
    assert University.objects.count() == 2


def test_an_inn_alone_means_none_of_several_branches(api: APIClient, tmp_path: Path) -> None:
    for kpp in ("772901001", "772901002"):
        University.objects.create(name="МГУ", inn=INN, kpp=kpp)
    answer = api.post("/employees", {"phone": PHONE, "inn": INN, "university_name": "МГУ"}, format="json")
    assert (answer.status_code, answer.json()["error"]["details"]) == (400, {"inn": [SEVERAL]})
    assert f"Row 2: inn: {SEVERAL}" in imported(tmp_path, inn=INN)
    assert not Employee.objects.exists()
    second = api.post("/employees", {"phone": PHONE, "inn": INN, "kpp": "772901002"}, format="json").json()
    assert second["university"]["kpp"] == "772901002"
    plain = University.objects.create(name="МГУ", inn=INN)
    third = api.post("/employees", {"phone": "+79160900098", "inn": INN}, format="json").json()
    assert third["university_id"] == plain.pk


def test_an_unknown_inn_is_created(api: APIClient) -> None:
    first, second = (
        api.post("/employees", {"phone": f"+7916090000{number}", "inn": INN} | kpp, format="json").json()["university"]
        for number, kpp in enumerate(({}, {"kpp": "772901001"}))
    )
    assert (first["inn"], first["kpp"], second["inn"], second["kpp"]) == (INN, "", INN, "772901001")
    assert first["id"] != second["id"]


@pytest.mark.parametrize("name", ["МГУ", "Новый"])
def test_a_kpp_without_an_inn_is_never_dropped(api: APIClient, name: str, tmp_path: Path) -> None:
    known = University.objects.create(name="МГУ", inn=INN, kpp="772901001")
    body = {"phone": PHONE, "kpp": "772901009", "university_name": name}
    answer = api.post("/employees", body, format="json")
    assert (answer.status_code, answer.json()["error"]["details"]) == (400, {"kpp": [ALONE]})
    assert f"Row 2: kpp: {ALONE}" in imported(tmp_path, kpp="772901009", university_name=name)
    assert (University.objects.get(), Employee.objects.count()) == (known, 0)


def test_a_kpp_alone_changes_no_university(api: APIClient, tmp_path: Path) -> None:
    known = University.objects.create(name="МГУ", inn=INN, kpp="772901001")
    employee = Employee.objects.create(phone=PHONE, university=known)
    for kpp, details in (("772901009", {"kpp": [ALONE]}), ("772901001", None)):
        answer = api.patch(f"/employees/{employee.pk}", {"kpp": kpp}, format="json")
        assert answer.json().get("error", {}).get("details") == details
        assert (f"Row 2: kpp: {ALONE}" in imported(tmp_path, kpp=kpp)) == bool(details)
    answer = api.post("/employees", {"phone": "+79160900098", "kpp": "772901001"}, format="json")
    assert "university_id" in answer.json()["error"]["details"]


def test_a_kpp_names_one_of_the_branches_with_the_name(api: APIClient, tmp_path: Path) -> None:
    branches = [University.objects.create(name="МГУ", inn=INN, kpp=kpp) for kpp in ("772901001", "772901002")]
    body = {"phone": PHONE, "kpp": "772901002", "university_name": "мгу"}
    assert api.post("/employees", body, format="json").json()["university_id"] == branches[1].pk
    imported(tmp_path, kpp="772901001", university_name="МГУ")
    assert Employee.objects.get().university == branches[0]


def clerk(*more: str) -> User:
    user = User.objects.create_user("clerk", is_staff=True)
    names = ["view_employee", "add_employee", "change_employee", *more]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


def uploaded(client: Client, **cells: str) -> Any:
    """Upload a file with one employee; return the context of the preview."""
    content = f"phone,last_name,{','.join(cells)}\n{PHONE},Ким,{','.join(cells.values())}\n"
    upload = SimpleUploadedFile("e.csv", content.encode())
    return client.post("/admin/employees/employee/import/", {"import_file": upload, "format": "0"}).context


@pytest.mark.parametrize(
    "cells", [{"university_name": "Новый", "inn": INN}, {"university_name": "Новый"}, {"inn": INN}]
)
@pytest.mark.parametrize("may_add", [True, False])
def test_an_import_creates_no_university_without_the_right(
    client: Client, may_add: bool, cells: dict[str, str]
) -> None:
    client.force_login(clerk(*["add_university"] * may_add))
    assert client.get("/admin/employees/university/add/").status_code == (200 if may_add else 403)
    page = uploaded(client, **cells)
    assert ("University not found." in "".join(page["lines"])) == (not may_add)
    if may_add:
        client.post("/admin/employees/employee/process_import/", page["confirm_form"].initial)
    assert (University.objects.count(), Employee.objects.count()) == (may_add, may_add)


def test_a_right_taken_away_after_the_preview_creates_no_university(client: Client) -> None:
    user = clerk("add_university")
    client.force_login(user)
    confirm = uploaded(client, inn=INN)["confirm_form"].initial
    user.user_permissions.remove(Permission.objects.get(codename="add_university"))
    client.force_login(user)
    client.post("/admin/employees/employee/process_import/", confirm)
    assert not University.objects.exists()


def test_a_clerk_imports_into_a_known_university(client: Client) -> None:
    known = University.objects.create(name="МГУ", inn=INN, kpp="772901001")
    client.force_login(clerk())
    page = uploaded(client, inn=INN)
    client.post("/admin/employees/employee/process_import/", page["confirm_form"].initial)
    assert Employee.objects.get().university == known


def test_a_lookup_of_a_new_name_computes_each_key_once() -> None:
    names = ["".join(letters) for letters in product("абвгдежз", repeat=4)]
    University.objects.bulk_create(University(name=name) for name in names)
    texts.look_alike_key.cache_clear()
    for name in ("Новый", "Новейший"):
        assert University.objects.find(inn="", kpp="", university_name=name) is None
    assert texts.look_alike_key.cache_info().misses == len(names) + 2 == 4098
