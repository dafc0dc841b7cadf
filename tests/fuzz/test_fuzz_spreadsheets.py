"""Spreadsheets with cells of all types are imported as they were meant, or refused; nothing else is stored."""

from contextlib import suppress

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from employees.import_export.tables import UnreadableFile, read_csv, read_xlsx
from employees.models import Employee
from profiles.names import UNKNOWN
from tests.employees.workbooks import number, sheet, text, workbook
from tests.fuzz.spreadsheets import Person, csv_of, people, xlsx_of
from tests.fuzz.test_fuzz import examples

IMPORT = "/admin/employees/employee/import/"
PROCESS = "/admin/employees/employee/process_import/"
KINDS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "xlsx", "xlsx"]
BOOK = workbook(sheet([text("phone"), text("max_id")], [number(5), text("x")]), strings="<si><t>x</t></si>")
TABLE = "phone;last_name\r\n+79160900001;Иванов\r\n"


@examples(100, 20_000)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)), st.integers(0, 60))
def test_it_reads_every_csv_or_says_why_not(content: bytes, position: int) -> None:
    for whole in (content, TABLE.encode()[:position] + content, TABLE.encode("cp1251")[:position] + content):
        with suppress(UnreadableFile):
            read_csv(whole)


@examples(100, 20_000)
@given(st.lists(st.tuples(st.integers(0, len(BOOK) - 1), st.integers(0, 255)), min_size=1, max_size=5))
def test_it_reads_every_workbook_or_says_why_not(changes: list[tuple[int, int]]) -> None:
    content = bytearray(BOOK)
    for position, byte in changes:
        content[position] = byte
    with suppress(UnreadableFile):
        read_xlsx(bytes(content))


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_it_stores_what_was_meant(client: Client, superadmin: User) -> None:
    client.force_login(superadmin)

    @examples(20, 1_500)
    @given(people(), st.sampled_from(KINDS), st.integers(0, 3))
    def upload(rows: list[Person], kind: str, gap: int) -> None:
        Employee.objects.all().delete()
        content = xlsx_of(rows, gap) if kind == "xlsx" else csv_of(rows, gap).encode(kind)
        file = SimpleUploadedFile("people", content)
        page = client.post(IMPORT, {"import_file": file, "format": "1" if kind == "xlsx" else "0"})
        assert page.status_code == 200
        if confirm := (page.context or {}).get("confirm_form"):
            assert client.post(PROCESS, confirm.initial).status_code == 302
        values = [[cell.meant for cell in row] for row in rows]
        is_refused = any(None in row for row in values) or len({row[0] for row in values}) < len(values)
        meant = {(phone, max_id or None, name or UNKNOWN) for phone, max_id, name in values}
        assert set(Employee.objects.values_list("phone", "max_id", "last_name")) == (set() if is_refused else meant)

    upload()
