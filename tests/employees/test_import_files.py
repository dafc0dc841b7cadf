"""Files as spreadsheets write them, and the errors of unreadable ones."""

import re
from datetime import timedelta
from io import StringIO
from itertools import product
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone, translation
from pytest_django.fixtures import Settings

from employees.admin import directory
from employees.import_export.stored_files import ImportFile
from employees.import_export.tables import UnreadableFile, read, read_csv
from employees.models import Employee, University
from employees.tasks import forget_import_files
from tests.employees.conftest import invalid_phone
from tests.employees.workbooks import sheet, text, workbook

pytestmark = pytest.mark.django_db
TEXT = "phone,last_name,first_name,university_name\n8 900 777-10-00,Ёлкина,Анна,МГУ\n"
IMPORT = "/admin/employees/employee/import/"
PROCESS = "/admin/employees/employee/process_import/"
NOTHING_NEW = "Nothing to import: the directory already has all data from this file."


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def uploaded(admin: Client, content: bytes, kind: str = "0") -> str:
    file = SimpleUploadedFile("e.csv", content)
    return admin.post(IMPORT, {"import_file": file, "format": kind}).content.decode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1251"])
def test_it_works(encoding: str) -> None:
    for delimiter, end in product([",", ";", "\t"], ["\n", "\r\n", "\r"]):
        table = read_csv(TEXT.replace(",", delimiter).replace("\n", end).encode(encoding))
        [row] = table.dict
        assert row == {
            "ROW": 2, "phone": "8 900 777-10-00", "last_name": "Ёлкина", "first_name": "Анна", "university_name": "МГУ"
        }, (delimiter, end)  # fmt: skip


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("phone;last_name\n1\n\n2;Ли;;\n", [(2, "1", ""), (4, "2", "Ли")]),
        (' phone ,last_name\n1,"Ли,\nКим\u2028"\n', [(2, "1", "Ли,\nКим\u2028")]),
        ("phone\n", []),
    ],
)
def test_rows_are_filled_up_to_the_heading(content: str, rows: list[tuple[object, ...]]) -> None:
    assert list(read_csv(content.encode())) == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no “Phone” column. Its columns: —"),
        ("Отдел;Должность\n".encode("cp1251"), "no “Phone” column. Its columns: Отдел, Должность"),
        pytest.param(
            b'phone,name\n"' + b"1,x\n" * 50_000,
            "Row 2: the file is not valid CSV: a cell is too long: probably a quotation mark is not closed.",
            id="large",
        ),
        (b'phone,university_name\n1,"MSU\n2,MSU\n', "Row 2: the file is not valid CSV: a quotation mark is missing"),
        ("phone\n1\n".encode("utf-32"), "Row 1: the encoding of the file is unclear"),
        (b"phone\n\x98\n", "Row 2: the encoding of the file is unclear"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
            "The file is not an XLSX workbook.",
        ),
    ],
)
def test_it_says_why_a_file_is_unreadable(admin: Client, content: bytes, words: str) -> None:
    with pytest.raises(UnreadableFile, match=words):
        read(content)
    if content:
        page = uploaded(admin, content)
        assert words in page
        assert "Traceback" not in page


REFUSED = {
    "open quote": 'Телефон;Имя\n1;"Ян\n',
    "quote within": 'Телефон;Имя\n1;"Ян" Ли\n',
    "long cell": f"Телефон;Имя\n1;{'я' * 200_000}\n",
    "open quote in a large file": 'Телефон;Имя\n1;"Ян\n' + "89161234567;Ли\n" * 10_000,
    "row in heading": 'Телефон;"Имя\n89161234567;Ян"\n',
    "two delimiters": "ФИО;Телефон, моб.\nЛи Ян;1,2\n",
    "two headings": "Телефон;Телефон\n1;2\n",
    "whole name": "Телефон;ФИО\n1;2\n",
    "no phone": "Имя;Отдел\n1;2\n",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_in_russian_has_no_english(kind: str) -> None:
    with translation.override("ru"), pytest.raises(UnreadableFile) as refused:
        read(REFUSED[kind].encode())
    assert re.findall("[a-z]{2,}|[“”]", str(refused.value)) == []


def test_names_of_sheets_are_quoted_as_russian_is() -> None:
    book = workbook(sheet([text("Телефон")]), sheet([text("Телефон")]))
    with translation.override("ru"), pytest.raises(UnreadableFile, match="«Sheet 1», «Sheet 2»"):
        read(book)


def test_it_refuses_an_invalid_workbook(admin: Client) -> None:
    assert "The file is not an XLSX workbook." in uploaded(admin, b"PK\x03\x04" + TEXT.encode())


def test_a_row_that_is_too_long_is_an_error_among_others(admin: Client) -> None:
    page = uploaded(admin, b"phone\n1,2\n3\n")
    assert "Row 2: The row has 2 cells, but the header has 1. Phone: 1" in page
    assert f"Row 3: phone: {invalid_phone()} Phone: 3" in page


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_quote_that_is_not_closed_swallows_no_row(admin: Client, end: str) -> None:
    names = ['"Институт права', "МГУ", 'Школа бизнеса"']
    rows = [f"8916123456{number};Ли;Ян;{name}" for number, name in enumerate(names, start=7)]
    page = uploaded(admin, end.join(["Телефон;Фамилия;Имя;Вуз", *rows]).encode())
    assert "Row 2: A quotation mark in the column “Вуз” seems not to be closed." in page
    assert PROCESS not in page
    page = uploaded(admin, end.join(['Телефон;Фамилия;Имя;"Вуз', *rows[1:], "89161234560;Ким;Юн;МГУ"]).encode())
    assert "Row 1: A quotation mark in the column “Вуз” seems not to be closed." in page
    assert PROCESS not in page


def test_a_cell_of_several_lines_is_no_open_quote(admin: Client) -> None:
    rows = '89161234567;МГУ;"Москва; центр\nул. Мира; 1"\n89161234568;МГУ;"Мира\n5"\n'
    assert not read_csv(f'Телефон;Вуз;"Адрес\n(город;\nулица)"\n{rows}'.encode()).errors
    assert not read_csv('Телефон\n"89161234567\n"\n'.encode()).errors
    assert not read_csv('Фамилия,Телефон,Адрес\nЛи,89161234567,"Москва\nул. Мира, д. 5, кв. 7"\n'.encode()).errors
    row = 'Ли,89161234567,"Москва\nКим,89161234568,Тверь"\n'
    assert read_csv(f"Фамилия,Телефон,Адрес\n{row}".encode()).errors


def test_an_error_of_a_row_shows_nothing_of_the_server(admin: Client, university: University) -> None:
    page = uploaded(admin, "phone;last_name\n89007771000;<b>\n12;Ли\n".encode("cp1251"))
    assert "Row 2: University: A new employee needs a university" in page
    assert f"Row 3: phone: {invalid_phone()}" in page
    for trace in ("Traceback", "site-packages", ".py", "&quot;, line"):
        assert trace not in page.partition("</form>")[2].partition("<noscript>")[0], trace


def test_the_columns_that_are_read_are_named(admin: Client) -> None:
    for page in (admin.get(IMPORT).content.decode(), uploaded(admin, b"x\n1\n")):
        columns = page.partition("<code>")[2].partition("</code>")[0]
        assert columns.strip() == "Phone, Last name, First name, Middle name, MAX ID, Role, INN, KPP, University"


def test_columns_that_are_not_read_are_named(admin: Client, tmp_path: Path) -> None:
    content = "phone,comment,university_name,Должность\n89007771000,,МГУ,Декан\n".encode()
    warning = "The file has columns that are not imported, because their headings are unknown: D “Должность”."
    assert warning in uploaded(admin, content)
    assert "are not imported" not in uploaded(admin, TEXT.encode())
    (tmp_path / "e.csv").write_bytes(content)
    err = StringIO()
    call_command("import_employees", str(tmp_path / "e.csv"), stdout=StringIO(), stderr=err)
    assert err.getvalue().startswith(warning)
    assert Employee.objects.count() == 1


def test_a_file_is_imported_once(admin: Client) -> None:
    file = SimpleUploadedFile("e.csv", TEXT.replace(",", ";").encode("cp1251"))
    confirmed = admin.post(IMPORT, {"import_file": file, "format": "0"}).context["confirm_form"].initial
    assert "1 employee was added" in admin.post(PROCESS, confirmed, follow=True).content.decode()
    assert Employee.objects.get().last_name == "Ёлкина"
    again = admin.post(PROCESS, confirmed, follow=True)
    assert again.redirect_chain == [("/admin/employees/employee/", 302)]
    assert "This file has already been imported" in again.content.decode()


def test_an_export_is_read_by_a_spreadsheet_and_by_the_import(admin: Client, university: University) -> None:
    Employee.objects.create(phone="+79007771000", last_name="Ёлкина", university=university)
    export = admin.post("/admin/employees/employee/export/", {"format": "0", "resource": "0"})
    assert export["Content-Type"] == "text/csv; charset=utf-8"
    assert export.content.decode().startswith("\ufeffphone,")
    assert read_csv(export.content)["last_name"] == ["Ёлкина"]


def test_the_command_reads_the_same_files(tmp_path: Path) -> None:
    file = tmp_path / "e.csv"
    file.write_bytes(TEXT.replace(",", ";").encode("cp1251"))
    call_command("import_employees", str(file), stdout=StringIO())
    assert Employee.objects.get().last_name == "Ёлкина"


@pytest.mark.parametrize(("name", "why"), [("nosuch.csv", "No such file or directory"), ("", "Is a directory")])
def test_the_command_says_why_a_file_cannot_be_read(tmp_path: Path, name: str, why: str) -> None:
    file = tmp_path / "e.csv" / name
    if not name:
        file.mkdir()
    with pytest.raises(CommandError) as refused:
        call_command("import_employees", str(file))
    assert str(refused.value) == f"Cannot read {file}: {why}"


def previewed(admin: Client, text: str) -> dict[str, str]:
    answer = admin.post(IMPORT, {"import_file": SimpleUploadedFile("e.csv", text.encode()), "format": "0"})
    confirmed: dict[str, str] = answer.context["confirm_form"].initial
    return confirmed


@pytest.mark.parametrize("number", ["9", "-1", "x", "²", ""])
def test_an_altered_format_is_ignored(admin: Client, number: str) -> None:
    assert admin.post(PROCESS, previewed(admin, TEXT) | {"format": number}).status_code == 302
    assert Employee.objects.count() == 1


@pytest.mark.long
@pytest.mark.parametrize("name", [".", "..", "no-such-file"])
def test_it_refuses_an_altered_file_name(admin: Client, name: str) -> None:
    answer = admin.post(PROCESS, previewed(admin, TEXT) | {"import_file_name": name}, follow=True)
    assert "This file has already been imported" in answer.content.decode()


def test_an_altered_resource_is_ignored(admin: Client) -> None:
    assert admin.post(PROCESS, previewed(admin, TEXT) | {"resource": "9"}).status_code == 302
    assert Employee.objects.count() == 1


def test_a_failure_after_the_preview_imports_nothing(admin: Client, university: University) -> None:
    Employee.objects.create(phone="+79007771001", university=university)
    Employee.objects.create(phone="+79007771002", university=university)
    confirmed = previewed(
        admin, "phone,last_name,university_name\n89007771000,Ли,МГУ\n89007771001,Ким,\n89007771002,Пак,\n"
    )
    Employee.objects.filter(phone="+79007771002").delete()
    answer = admin.post(PROCESS, confirmed, follow=True)
    assert answer.redirect_chain == [(IMPORT, 302)]
    page = answer.content.decode()
    assert "Nothing was imported: the directory has changed since the preview. Rows with errors: 1." in page
    assert "Row 4: university_name: A new employee needs a university: fill in its name or its INN." in page
    assert "Import finished" not in page
    assert [str(employee.last_name) for employee in Employee.objects.all()] == ["Неизвестно"]
    assert not LogEntry.objects.exists()


def test_rows_are_counted_with_those_that_change_nothing(admin: Client, university: University) -> None:
    Employee.objects.create(phone="+79007771001", last_name="Ли", university=university)
    page = uploaded(admin, "phone,last_name\n89007771001,Ли\n12,Ким\n".encode())
    assert f"Row 3: phone: {invalid_phone()}" in page


def many(rows: int, university: str = "МГУ") -> bytes:
    lines = [f"+7900{number:07d},{university}" for number in range(rows)]
    return "\n".join(["phone,university_name", *lines]).encode()


@pytest.fixture
def short_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut previews after ten rows, because each row takes long."""
    assert directory.MAX_PREVIEWED == 100
    monkeypatch.setattr(directory, "MAX_PREVIEWED", 10)


@pytest.mark.usefixtures("short_preview")
def test_a_long_preview_is_cut_and_says_so(admin: Client) -> None:
    page = uploaded(admin, many(13))
    assert page.count('class="new ') == 10
    assert "Showing the first 10 rows; 3 more are not shown." in page
    assert "Showing the first" not in uploaded(admin, many(10))


@pytest.mark.usefixtures("short_preview")
def test_errors_are_not_cut(admin: Client) -> None:
    page = uploaded(admin, many(13, ""))
    assert page.count("A new employee needs a university") == 13
    assert "New: 0 · changed: 0 · unchanged: 0 · refused: 13" in " ".join(page.split())


@pytest.mark.usefixtures("short_preview")
def test_a_cut_preview_imports_every_row(admin: Client) -> None:
    file = SimpleUploadedFile("e.csv", many(13))
    confirmed = admin.post(IMPORT, {"import_file": file, "format": "0"}).context["confirm_form"].initial
    admin.post(PROCESS, confirmed)
    assert Employee.objects.count() == 13


def test_it_refuses_more_rows_than_a_browser_waits_for(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("employees.import_export.formats.MAX_ROWS", 3)
    assert "The file has more than 3 rows." in uploaded(admin, many(4))
    assert "Confirm import" in uploaded(admin, many(3))


def test_it_refuses_too_many_columns() -> None:
    headings = ["phone", *(f"x{number}" for number in range(1_000))]
    with pytest.raises(UnreadableFile, match="more than 1000 columns"):
        read_csv(",".join(headings).encode())
    assert list(read_csv(f"{','.join(headings[:-1])}\n1\n".encode())) == [(2, "1")]


def test_a_heading_that_is_too_long_is_unknown() -> None:
    last_name = f"Фамилия {'сотрудника ' * 17}"
    assert len(last_name) < 200
    table = read_csv(f"phone,{last_name},{last_name}сотрудника\n1,Ли,Ким\n".encode())
    assert list(table) == [(2, "1", "Ли")]
    assert list(table.ignored) == ["C"]


def test_the_limits_are_named(admin: Client) -> None:
    assert "CSV or XLSX, up to 10,000 rows and 16 MB" in admin.get(IMPORT).content.decode()


@pytest.mark.long
def test_an_unconfirmed_file_is_deleted_after_an_hour(admin: Client) -> None:
    uploaded(admin, many(1))
    stored = ImportFile.objects.get()
    uploaded(admin, many(1))
    assert ImportFile.objects.count() == 2
    ImportFile.objects.filter(pk=stored.pk).update(created_at=timezone.now() - timedelta(minutes=61))
    assert forget_import_files() == 1
    ImportFile.objects.update(created_at=timezone.now() - timedelta(minutes=61))
    uploaded(admin, many(1))
    assert ImportFile.objects.count() == 1


def test_another_web_host_can_confirm_and_the_file_is_deleted(
    admin: Client, settings: Settings, tmp_path: Path, university: University
) -> None:
    form = previewed(admin, TEXT)
    settings.DATA_DIR = tmp_path / "of another host"
    admin.post(PROCESS, form, follow=True)
    assert (Employee.objects.count(), ImportFile.objects.count()) == (1, 0)


def test_only_the_user_who_uploaded_a_file_confirms_it(admin: Client, university: University) -> None:
    form = previewed(admin, TEXT)
    other = Client()
    other.force_login(User.objects.create_superuser("other"))
    other.cookies["django_language"] = "en"
    page = other.post(PROCESS, form, follow=True).content.decode()
    assert "This file has already been imported" in page
    assert (Employee.objects.count(), ImportFile.objects.count()) == (0, 1)
    admin.post(PROCESS, form, follow=True)
    assert (Employee.objects.count(), ImportFile.objects.count()) == (1, 0)


def test_a_name_of_another_file_reads_and_removes_nothing(admin: Client, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_bytes(many(1))
    answer = admin.post(PROCESS, previewed(admin, TEXT) | {"import_file_name": str(other)}, follow=True)
    assert "This file has already been imported" in answer.content.decode()
    assert (other.exists(), Employee.objects.count()) == (True, 0)


def test_a_file_that_changes_nothing_says_so(admin: Client) -> None:
    university = University.objects.create(name="МГУ")
    anna = {"last_name": "Ёлкина", "first_name": "Анна", "profile_source": "manual"}
    Employee.objects.create(phone="+79007771000", university=university, **anna)
    page = uploaded(admin, TEXT.encode())
    assert NOTHING_NEW in page
    assert (PROCESS in page, "import-preview-table" in page, 'name="import_file"' in page) == (False, False, True)
    page = uploaded(admin, f"{TEXT}8 900 777-10-01,Ли,Ким,МГУ\n".encode())
    assert (NOTHING_NEW in page, PROCESS in page) == (False, True)


@pytest.mark.django_db
def test_the_preview_and_the_result_are_sentences(admin: Client, university: University) -> None:
    Employee.objects.create(phone="+79160000001", first_name="Федор", last_name="Ким", university=university)
    rows = "phone,last_name,first_name,university_name\n+79160000001,Ким,Фёдор,\n\n+79160000002,Ли,Анна,"
    rows += f"{university.name}\n"
    upload = {"import_file": SimpleUploadedFile("e.csv", rows.encode()), "format": "0"}
    answer = admin.post(IMPORT, upload)
    page = answer.content.decode()
    preview = page[page.index("import-preview-table") :]
    assert "<del>Федор</del> → <ins>Фёдор</ins>" in preview
    assert ("will be changed" in preview, "will be added" in preview, "capitalize" in preview) == (True, True, False)
    assert ">2</td>" in preview
    assert ">4</td>" in preview
    confirmed = answer.context["confirm_form"].initial
    done = admin.post(PROCESS, confirmed, follow=True).content.decode()
    assert "The import is finished: 1 employee was added, 1 employee was changed." in done


@pytest.mark.django_db
def test_a_missing_phone_and_a_bad_id_are_named(admin: Client, university: University) -> None:
    page = uploaded(admin, f"phone,max_id,university_name\n,1,{university.name}\n+79160000002,0,x\n".encode())
    assert "The phone is missing." in page
    assert "Invalid MAX user ID: use a whole number from 1 to 9223372036854775807" in page
