"""Files that people sent: each is imported as it was meant, or refused with the row or heading, by both surfaces."""

from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client

from employees.import_export.resources import EmployeeResource
from employees.import_export.tables import read_csv, read_xlsx
from employees.models import Employee, University
from tests.conftest import client_of
from tests.employees.workbooks import number, sheet, text, workbook

pytestmark = pytest.mark.django_db
CASES = Path(__file__).parent / "cases"
IMPORT = "/admin/employees/employee/import/"

IMPORTED = {
    "apostrophe-phone.csv": ["+79160910010"],
    "blank-rows-csv-end.csv": ["+79160900001"],
    "blank-rows-xlsx-middle.xlsx": ["+79160900002", "+79160900003"],
    "decimal-max-id.csv": ["+79160900006"],
    "decimal-phone-800.csv": ["+78003330002"],
    "decimal-phone-812.csv": ["+78123330001"],
    "heading-trailing-space.xlsx": ["+79160900024"],
    "phone-ltr-embedding.csv": ["+79160910001"],
    "phone-zero-width-space.csv": ["+79160910002"],
    "placeholder-nan.csv": ["+79160900017"],
    "placeholder-null.csv": ["+79160900018"],
}
REFUSED = {
    "encoding-cp866.csv": "Row 2: the encoding of the file is unclear",
    "encoding-koi8-r.csv": "Row 2: the encoding of the file is unclear",
    "long-id-as-number.xlsx": "Row 2: max_id: “1.234567890123457e+18” is a number that may have lost digits.",
    "placeholder-error-cell.xlsx": "Row 2: last_name: “#N/A” is a spreadsheet error.",
    "same-heading-last-name.csv": "The heading “last_name” is repeated in columns B and D.",
    "same-heading-phone.csv": "The heading “phone” is repeated in columns A and D.",
    "same-phone-two-people.csv": "Row 3: phone: Row 2 has the same phone.",
    "same-phone-two-spellings.csv": "Row 3: phone: Row 2 has the same phone.",
    "two-sheets.xlsx": "Several sheets are filled: “Sheet”, “Факультет 2”.",
}
KINDS = {".csv": "0", ".xlsx": "1"}


def command(file: Path) -> str:
    """Return what the command prints, and why it failed if so."""
    out = StringIO()
    try:
        call_command("import_employees", str(file), stdout=out, stderr=out)
    except CommandError as error:
        out.write(str(error))
    return out.getvalue()


def test_all_cases_are_here() -> None:
    assert {file.name for file in CASES.iterdir()} == IMPORTED.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", IMPORTED)
def test_it_imports_what_was_meant(name: str) -> None:
    phones = IMPORTED[name]
    assert f"created: {len(phones)}," in command(CASES / name)
    employees = Employee.objects.order_by("phone")
    assert [employee.phone for employee in employees] == phones
    assert {employee.university.name for employee in employees} == {"Вуз ошибок"}
    assert {employee.max_id for employee in employees} == {"5551009" if name == "decimal-max-id.csv" else None}
    assert "NULL" not in [employee.last_name for employee in employees]


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses_and_names_the_place(client: Client, superadmin: object, name: str) -> None:
    assert REFUSED[name] in command(CASES / name)
    client.force_login(superadmin)  # type: ignore[arg-type]
    client.cookies["django_language"] = "en"
    upload = {"import_file": SimpleUploadedFile(name, (CASES / name).read_bytes()), "format": KINDS[Path(name).suffix]}
    page = client.post(IMPORT, upload).content.decode().replace("&#x27;", "'")
    assert REFUSED[name] in page
    assert not Employee.objects.exists()
    assert not University.objects.exists()


def test_the_api_and_the_admin_take_the_same_phones_and_ids(client: Client, superadmin: User) -> None:
    university = University.objects.create(name="МГУ")
    client.force_login(superadmin)
    api = client_of(superadmin)
    body = {"phone": "\u202a+7 916 091-00-01\u202c", "max_id": "'555\u200b1009", "university_id": university.pk}
    answer = api.post("/employees", body, format="json")
    assert (answer.status_code, answer.json()["phone"], answer.json()["max_id"]) == (201, "+79160910001", "5551009")
    for max_id in ("5.551E6", "nan", "NULL", "TRUE", "2024-01-05", "-5", "55510.9"):
        other = body | {"phone": "+79160910002", "max_id": max_id}
        answer = api.post("/employees", other, format="json")
        assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, ["max_id"]), max_id
    form = {"phone": "'89160910003\u200e", "max_id": "\u2066'77\u2069", "university": university.pk}
    assert client.post("/admin/employees/employee/add/", form).status_code == 302
    assert Employee.objects.get(phone="+79160910003").max_id == "77"


def test_all_errors_of_a_row_are_named() -> None:
    headings = [text("phone"), text("last_name"), text("max_id")]
    book = workbook(sheet(headings, [], [number(8916), number(5), number(0.5)]))
    result = EmployeeResource().import_data(read_xlsx(book), dry_run=True)
    assert [row.number for row in result.invalid_rows] == [3]
    book = workbook(sheet(headings, [text("+79160910001"), number(5), number(0.5)]))
    result = EmployeeResource().import_data(read_xlsx(book), dry_run=True)
    assert list(result.invalid_rows[0].error_dict) == ["last_name", "max_id", "university_name"]


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_an_export_is_imported_unchanged(kind: str) -> None:
    university = University.objects.create(name="Вуз «=1», № 5", inn="0123456789", kpp="012345678")
    other = University.objects.create(name="42")
    names = [
        ("+79160910001", "Null", "=1+1", "42", None, ""),
        ("+3725123456", "'t Hooft", "'=x", "NULL", "-a.b", "curator"),
        ("+79160910002", "TRUE", "5-Jan", "#1", str(2**63 - 1), "operator"),
        ("+79160910003", "Ли", "👩\u200d🚀", "-1", "7", ""),
    ]
    columns = ("phone", "last_name", "first_name", "middle_name", "max_id", "role")
    universities = [university, other]
    people = [
        Employee(**dict(zip(columns, person, strict=True)), university=universities[index % 2])
        for index, person in enumerate(names)
    ]
    Employee.objects.bulk_create(people)
    kept = [*columns, "university_id"]
    before = list(Employee.objects.order_by("phone").values_list(*kept))
    content = EmployeeResource().export(Employee.objects.all()).export(kind)
    read = read_csv(content.encode()) if kind == "csv" else read_xlsx(content)
    assert EmployeeResource().import_data(read).totals["skip"] == len(people)
    Employee.objects.all().delete()
    result = EmployeeResource().import_data(read)
    assert result.totals["new"] == len(people), [str(row.error) for row in result.invalid_rows]
    assert list(Employee.objects.order_by("phone").values_list(*kept)) == before
