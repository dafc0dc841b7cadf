"""CSV and XLSX in and out: phones are normalised, errors named, formulas escaped."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from tablib import Dataset

from employees.import_export.resources import EmployeeResource
from employees.models import Employee, University, UnresolvedName
from tests.employees.conftest import invalid_phone

pytestmark = pytest.mark.django_db

HEADERS = ["phone", "last_name", "first_name", "middle_name", "max_id", "role", "inn", "kpp", "university_name"]


def dataset(*rows: list[Any]) -> Dataset:
    return Dataset(*[[*row, *[""] * (len(HEADERS) - len(row))] for row in rows], headers=HEADERS)


def written(tmp_path: Path, kind: str, *rows: list[Any]) -> Path:
    file = tmp_path / f"employees.{kind}"
    content = dataset(*rows).export(kind)
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8-sig"))
    return file


def load(file: Path, *args: str) -> str:
    out = StringIO()
    call_command("import_employees", str(file), *args, stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_it_works(tmp_path: Path, kind: str, university: University) -> None:
    file = written(
        tmp_path,
        kind,
        ["8 (916) 123-45-67", "Иванов", "Иван", "", "42", "operator", "7701234567", "770101001", "МГУ"],
        [79161234568, "", "", "", "", "", "", "", "СПбГУ"],
    )
    text = load(file)
    assert "created: 2" in text
    first, second = Employee.objects.order_by("phone")
    assert (first.phone, first.last_name, first.max_id, first.profile_source) == (
        "+79161234567",
        "Иванов",
        "42",
        "manual",
    )
    assert (first.university.inn, first.role) == ("7701234567", "operator")
    assert (second.phone, second.first_name, second.profile_source) == ("+79161234568", "Неизвестно", "default")
    assert UnresolvedName.objects.get().employee == second
    assert "unchanged: 2" in load(file)


def test_a_dry_run_imports_nothing(tmp_path: Path, university: University) -> None:
    file = written(tmp_path, "csv", ["8 916 123 45 67"])
    assert "would be created: 1" in load(file, "--dry-run", "--university-id", str(university.pk))
    assert not Employee.objects.exists()


def test_blanks_change_nothing(tmp_path: Path, university: University) -> None:
    employee = Employee.objects.create(
        phone="+79161234567", first_name="Иван", last_name="Петров", max_id="7", university=university,
        profile_source="webhook",
    )  # fmt: skip
    load(written(tmp_path, "csv", ["89161234567", "", "", "Ильич"]))
    employee.refresh_from_db()
    assert (employee.first_name, employee.middle_name, employee.max_id) == ("Иван", "Ильич", "7")
    assert employee.profile_source == "manual"


def test_it_names_the_errors_and_imports_nothing(tmp_path: Path, university: University) -> None:
    file = written(
        tmp_path,
        "csv",
        ["89161234567", "Иванов", "Иван", "", "", "", "", "", "МГУ"],
        ["12", "Иванов", "", "", "", "", "", "", "МГУ"],
        ["89161234568", "", "", "", "a b", "", "", "", "МГУ"],
        ["89161234569", "", "", "", "", "boss", "", "", "МГУ"],
        ["89161234560"],
        ["89161234561", "", "", "", "", "", "12"],
        ["89161234562", "", "", "", "", "", "7701234567", "12", "МГУ"],
    )
    out = StringIO()
    with pytest.raises(CommandError, match="Rows with errors: 6"):
        call_command("import_employees", str(file), stdout=out, stderr=out)
    text = out.getvalue()
    for words in (
        f"Row 3: phone: {invalid_phone()}",
        "Row 4: max_id: Invalid MAX user ID",
        "Row 5: role: Invalid role “boss”",
        "Row 6: university_name: A new employee needs a university",
        "Row 7: inn: Invalid INN “12”: enter 10 or 12 digits.",
        "Row 8: kpp: Invalid KPP “12”: enter 9 digits.",
    ):
        assert words in text, text
    assert "Traceback" not in text
    assert not Employee.objects.exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"name\nx\n"])
def test_it_refuses_other_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(content)
    with pytest.raises(CommandError):
        load(file)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "=cmd|' /C calc'!A0"])
def test_formulas_are_escaped_and_come_back(tmp_path: Path, university: University, text: str) -> None:
    Employee.objects.create(phone="+79161234567", first_name=text, university=university)
    exported = EmployeeResource().export(Employee.objects.all())
    assert exported["first_name"] == [f"'{text}"]
    assert exported["phone"] == ["+79161234567"]
    Employee.objects.update(first_name="x")
    file = tmp_path / "x.csv"
    file.write_text(exported.export("csv"))
    load(file)
    assert Employee.objects.get().first_name == text.strip()


def test_the_admin_previews_imports_and_exports(client: Client, superadmin: User, university: University) -> None:
    client.force_login(superadmin)
    rows = dataset(["8 916 123 45 67", "=Злой", "Иван", "", "", "", "", "", "МГУ"], ["1"])
    upload = SimpleUploadedFile("e.csv", rows.export("csv").encode())
    preview = client.post("/admin/employees/employee/import/", {"import_file": upload, "format": "0"})
    assert preview.status_code == 200
    assert invalid_phone() in preview.content.decode()
    assert not Employee.objects.exists()
    good = SimpleUploadedFile("e.csv", dataset(rows[0]).export("csv").encode())
    preview = client.post("/admin/employees/employee/import/", {"import_file": good, "format": "0"})
    confirm = preview.context["confirm_form"].initial
    assert client.post("/admin/employees/employee/process_import/", confirm, follow=True).status_code == 200
    assert Employee.objects.get().phone == "+79161234567"
    fields = {f"employeeresource_{name}": "on" for name in (*HEADERS, "profile_source")}
    export = client.post("/admin/employees/employee/export/", {"format": "0", "resource": "0"} | fields)
    assert "'=Злой" in export.content.decode()
