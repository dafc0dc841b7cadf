"""Files of clerks, with Russian headings and roles: read as they were meant, or refused with every row and phone."""

import html
import re
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import translation

from employees.import_export.headings import COLUMNS, column_of, heading_of, is_whole_name, template
from employees.import_export.tables import UnreadableFile, read
from employees.models import Employee, MaxIdClaim, Membership, Role, University
from tests.employees.workbooks import sheet, text, workbook

FILES = Path(__file__).parent / "clerks" / "cases"
IMPORT = "/admin/employees/employee/import/"
PROCESS = "/admin/employees/employee/process_import/"

SPELLINGS = {
    "phone": ["Номер телефона", "Тел.", "ТЕЛЕФОН", "№ телефона", "Tелефон", "моб. тел.", "Phone number", "phoneNumber"],
    "last_name": ["фамилия", " Фамилия* ", "LAST NAME", "last_name", "Surname"],
    "first_name": ["Имя", "Имя сотрудника", "First  name", "firstName"],
    "middle_name": ["Отчество", "Отчество (при наличии)", "Patronymic"],
    "max_id": ["MAX ID", "МАХ ID", "ID в MAX", "max-id"],
    "role": ["Роль", "role"],
    "inn": ["ИНН", "ИНН вуза"],
    "kpp": ["КПП", "kpp"],
    "university_name": ["Вуз", "ВУЗ", "Название вуза", "Наименование университета", "University name"],
}


@pytest.mark.parametrize("column", SPELLINGS)
def test_it_knows_the_spellings_of_a_heading(column: str) -> None:
    assert {column_of(spelling) for spelling in SPELLINGS[column]} == {column}


@pytest.mark.parametrize("heading", ["", "Номер", "№ п/п", "Должность", "Телефон 2", "Рабочий телефон", "ФИО", "Имя 2"])
def test_it_knows_no_other_heading(heading: str) -> None:
    assert column_of(heading) is None


@pytest.mark.parametrize("heading", ["ФИО", "Ф. И. О.", "Фамилия, имя, отчество", "ФИО сотрудника", "Full name"])
def test_whole_names_are_no_column(heading: str) -> None:
    assert (is_whole_name(heading), column_of(heading)) == (True, None)


@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_headings_of_pages_are_read(language: str) -> None:
    with translation.override(language):
        assert [column_of(heading_of(column)) for column in COLUMNS] == list(COLUMNS)


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_template_is_read_without_its_example(language: str, kind: str) -> None:
    with translation.override(language):
        content = template(kind, is_limited=False)
        table = read(content)
        headings = [heading_of(column) for column in COLUMNS]
    assert (len(table), list(table.headings.values())) == (0, headings)
    filled = content.replace(b"8 (916) 123-45-67", b"8 (916) 123-45-60") if kind == "csv" else b""
    assert kind == "xlsx" or len(read(filled)) == 1


def test_cells_of_a_template_are_text() -> None:
    cells: Any = openpyxl.load_workbook(BytesIO(template("xlsx", is_limited=True))).active
    assert {cell.number_format for row in cells for cell in row} == {"@"}
    assert len(cells[1]) == 6


def test_the_format_is_that_of_the_content() -> None:
    book = workbook(sheet([text("Телефон")], [text("89160912010")]))
    assert [len(read(content)) for content in (book, "Телефон\n89160912010\n".encode())] == [1, 1]
    with pytest.raises(UnreadableFile, match="not an XLSX workbook"):
        read(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "ru"
    return client


def upload(client: Client, content: bytes) -> Any:
    return client.post(IMPORT, {"import_file": SimpleUploadedFile("файл.bin", content), "resource": "0"})


def page_of(client: Client, name: str) -> str:
    return str(upload(client, (FILES / name).read_bytes()).content.decode()).replace("&#x27;", "'")


def failure(name: str) -> str:
    err = StringIO()
    with translation.override("ru"), pytest.raises(CommandError) as refused:
        call_command("import_employees", str(FILES / name), stdout=err, stderr=err)
    return f"{err.getvalue()}{refused.value}"


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "phones"), [("cp1251-headings.csv", "1 2 3"), ("capitals.xlsx", "4 5 6")])
def test_it_imports_what_was_meant(admin: Client, name: str, phones: str) -> None:
    answer = upload(admin, (FILES / name).read_bytes())
    assert "Новых: 3 · изменится: 0 · без изменений: 0 · не принято: 0" in " ".join(answer.content.decode().split())
    admin.post(PROCESS, answer.context["confirm_form"].initial)
    employees = Employee.objects.order_by("phone")
    assert [employee.phone for employee in employees] == [f"+7916091200{digit}" for digit in phones.split()]
    assert {employee.university.name for employee in employees} == {"Вуз ошибок"}
    roles = [Role.CURATOR, Role.OPERATOR, ""] if name.endswith("csv") else ["", "", ""]
    assert [employee.role for employee in employees] == roles
    assert employees[0].middle_name in ("Петровна", "Иванович")


@pytest.mark.django_db
def test_columns_that_are_not_imported_are_named(admin: Client) -> None:
    assert "заголовки неизвестны: G «Примечание»" in page_of(admin, "cp1251-headings.csv")


REFUSED = {
    "whole-names.csv": ["В столбце A «Ф.И.О.» имя записано целиком. Разделите его на столбцы Фамилия, Имя, Отчество."],
    "two-phones.csv": [
        "Заголовки «Телефон» и «Мобильный тел.» в столбцах A и C означают одно и то же.",
        "Заголовок «фамилия» повторяется в столбцах B и E.",
    ],
    "many-errors.csv": [
        "Строка 4: Телефон: Укажите российский номер или + и от 8 до 15 цифр. Телефон: 8916091",
        "Строка 4: Имя: «5» — число.",
        "Строка 4: МАКС ID:",
        "Строка 4: Роль: Неизвестная роль «начальник». Введите роль (куратор или оператор) или",
        "Строка 4: ИНН:",
        "Строка 5: В строке ячеек: 7, а в заголовке: 6. Телефон: +79160912011",
        "Строка 6: Роль: Неизвестная роль «декан»",
        "Строка 6: Вуз: Новому сотруднику нужен вуз: укажите его название или ИНН. Телефон: +79160912012",
        "Строка 8: Телефон: Такой же телефон в строке 2.",
        "Строка 8: Имя: «#Н/Д»",
    ],
    "title-above.xlsx": [
        (
            "В файле нет столбца «Телефон». Его столбцы: Список сотрудников вуза ошибок на 1 сентября."
            " Первой заполненной должна быть строка с заголовками: удалите всё, что стоит над ней."
        )
    ],
    "changed-values.xlsx": [
        (
            "Строка 5: Имя: В ячейке дата или время. Задайте столбцу текстовый формат и введите значение заново."
            " Телефон: +79160913012"
        ),
        "Строка 5: ИД MAX: «2.1e+17» — число, у которого могли пропасть цифры.",
        (
            "Строка 6: Фамилия: «#ССЫЛКА!» — ошибка формулы в таблице. Исправьте формулу или очистите ячейку."
            " Телефон: +79160913013"
        ),
        "Строка 6: Отчество: «TRUE» — логическое значение.",
        (
            "Строка 7: Сотовый: Такой же телефон в строке 2. Удалите одну из двух строк или исправьте телефон."
            " Телефон: +79160913011"
        ),
        "Строка 8: Сотовый: Телефон не указан.",
    ],
    "line-breaks.csv": [
        "Строка 3: Роль в системе: Неизвестная роль «писатель».",
        "Строка 5: Телефон: Укажите российский номер или + и от 8 до 15 цифр. Телефон: ",
    ],
    "unicode-text.csv": [
        "Строка 3: Роль: Неизвестная роль «Оператр».",
        "Строка 4: Вуз: Новому сотруднику нужен вуз: укажите его название или ИНН. Телефон: +79160913033",
        "Строка 6: КПП: Неверный КПП «77360100»: нужно 9 цифр. Телефон: +79160913034",
    ],
    "slipped.csv": [
        (
            "Строка 2: Контактный телефон: Укажите российский номер или + и от 8 до 15 цифр."
            " Телефон: 89160913041, 89160913042"
        ),
        (
            "Строка 3: Контактный телефон: Укажите российский номер или + и от 8 до 15 цифр."
            " Телефон: +7 (495) 123-45-67 доб. 12"
        ),
        "Строка 4: В строке ячеек: 6, а в заголовке: 5.",
        "Строка 4: Университет: «89160913043» — число.",
        "Строка 5: Университет: Новому сотруднику нужен вуз: укажите его название или ИНН. Телефон: +79160913044",
    ],
}
# The rows of the file that each line names, in order; none where the headings are refused.
NAMED: dict[str, list[int]] = {
    "whole-names.csv": [], "two-phones.csv": [], "title-above.xlsx": [],
    "many-errors.csv": [4, 4, 4, 4, 4, 5, 6, 6, 8, 8],
    "changed-values.xlsx": [5, 5, 6, 6, 7, 8],
    "line-breaks.csv": [3, 5],
    "unicode-text.csv": [3, 4, 6],
    "slipped.csv": [2, 3, 4, 4, 4, 5],
}  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("name", REFUSED)
def test_it_names_every_row_and_phone_at_once(admin: Client, name: str) -> None:
    page, printed = page_of(admin, name), failure(name)
    for line in REFUSED[name]:
        assert line in page, line
        # Terminals keep their output: only the last two digits of a phone are printed.
        assert re.sub(r"Телефон: [-+0-9(), доб.]*([0-9]{2})$", r"Телефон: …\1", line) in printed, line
    assert not Employee.objects.exists()
    assert list(map(int, re.findall(r"^Строка (\d+): ", printed, re.MULTILINE))) == NAMED[name]
    assert list(map(int, re.findall(r"<li>\s*Строка (\d+): ", page))) == NAMED[name]
    if NAMED[name]:
        refused = len(set(NAMED[name]))
        assert f"изменится: 0 · без изменений: 0 · не принято: {refused}" in " ".join(page.split())


@pytest.mark.django_db
@pytest.mark.parametrize("word", ["Да", "yes", "no", "unknown", "нет", "TBD", "(неизвестно)", "n o t  s e t"])
@pytest.mark.parametrize("heading", ["Роль", "ИНН", "КПП"])
def test_a_word_in_a_column_of_codes_is_refused(admin: Client, heading: str, word: str) -> None:
    """Such a word stands for none only in the column of MAX IDs."""
    page = upload(admin, f"Телефон;Вуз;{heading}\n89160912001;Вуз ошибок;{word}\n".encode()).content.decode()
    assert f"Строка 2: {heading}: " in page


@pytest.mark.django_db
@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("column", COLUMNS)
def test_an_error_is_a_sentence(admin: Client, language: str, column: str) -> None:
    """The phone follows it on the same line."""
    admin.cookies["django_language"] = language
    cells = ["0", "x y", "12", "#N/A", "TRUE", "yes", "01.02.2024", "1,5", "NULL.", "я" * 1_001, "Èâàíîâ", "иВАНОВ", ""]
    headings = ["phone", column] if column != "phone" else ["phone", "last_name"]
    rows = [f"89160912001;{cell}" if column != "phone" else f"{cell};Ли" for cell in cells]
    page = upload(admin, "\n".join([";".join(headings), *rows]).encode()).content.decode()
    lines = [html.unescape(line) for line in re.findall(r"<li>\s*((?:Строка|Row) \d+: .*?)\s*</li>", page)]
    assert len(lines) > 5
    for line in lines:
        error, _label, _phone = line.replace("Phone:", "Телефон:").rpartition(" Телефон: ")
        assert (error or line).endswith("."), line


@pytest.mark.long
@pytest.mark.django_db
def test_every_error_is_listed(admin: Client) -> None:
    rows = "\n".join(f"8916{number}" for number in range(300))
    page = upload(admin, f"Телефон\n{rows}\n".encode()).content.decode()
    assert page.count("<li>Строка ") == 300


# A user who is limited to one university


@pytest.fixture
def own(db: None) -> University:
    return University.objects.create(name="Первый вуз", inn="7707083893", kpp="773601001")


@pytest.fixture
def limited(client: Client, own: University) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    user.groups.add(Group.objects.get(name="operator"))
    Membership.objects.create(user=user, university=own)
    client.force_login(user)
    client.cookies["django_language"] = "ru"
    return client


def imported(client: Client, content: str) -> Any:
    answer = upload(client, content.encode())
    confirmed = client.post(PROCESS, answer.context["confirm_form"].initial)
    assert confirmed.status_code == 302
    return answer


@pytest.mark.parametrize(
    "content",
    [
        "Телефон;Фамилия\n89160912020;Ли\n",
        "Телефон;Фамилия;Вуз\n89160912020;Ли;\n",
        "Телефон;Фамилия;Вуз\n89160912020;Ли;первый  ВУЗ\n",
        "Телефон;Фамилия;ИНН;КПП\n89160912020;Ли;7707083893;773601001\n",
    ],
)
def test_rows_go_into_the_own_university(limited: Client, own: University, content: str) -> None:
    imported(limited, content)
    assert [employee.university for employee in Employee.objects.all()] == [own]
    assert University.objects.count() == 1


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (";Второй вуз;;", "Строка 2: Вуз: «Второй вуз» — другой вуз."),
        (";Новый вуз;;", "Строка 2: Вуз: «Новый вуз» — другой вуз."),
        (";;7707083894;773601001", "Строка 2: ИНН: «7707083894, 773601001» — другой вуз."),
        (";Первый вуз;7707083894;", "Строка 2: ИНН: «Первый вуз, 7707083894» — другой вуз."),
    ],
)
def test_rows_of_another_university_are_refused(limited: Client, row: str, named: str) -> None:
    University.objects.create(name="Второй вуз")
    page = upload(limited, f"Телефон;Фамилия;Вуз;ИНН;КПП\n89160912020;Ли{row}\n".encode()).content.decode()
    assert named in page
    assert "Вы можете загружать только сотрудников вуза «Первый вуз»" in page
    assert (Employee.objects.count(), University.objects.count()) == (0, 2)


def test_an_employee_of_another_university_stays_hidden(limited: Client, own: University) -> None:
    other = University.objects.create(name="Второй вуз")
    Employee.objects.create(phone="+79160912021", last_name="Тайный", university=other, role="curator")
    page = upload(limited, "Телефон;Фамилия;Роль\n89160912021;Ли;куратор\n".encode()).content.decode()
    assert "Строка 2: Телефон: Сотрудник с таким телефоном уже есть." in page
    assert "Строка 2: Роль: Роль куратора назначает только суперадминистратор." in page
    assert ("Тайный" in page, "Второй вуз" in page) == (False, False)
    assert Employee.objects.get().last_name == "Тайный"


def test_the_ids_that_a_limited_user_imports_are_claims(limited: Client, own: University) -> None:
    Employee.objects.create(phone="+79160912023", last_name="Ли", university=own)
    imported(limited, "Телефон;Фамилия;MAX ID\n89160912022;Ли;51\n89160912023;Ли;52\n")
    assert set(MaxIdClaim.objects.values_list("max_id", "is_vouched")) == {("51", False), ("52", False)}


def test_the_template_of_a_limited_user_has_no_university(limited: Client) -> None:
    csv = limited.get(f"{IMPORT}template.csv")
    assert csv.content.decode().startswith("\ufeffТелефон;Фамилия;Имя;Отчество;MAX ID;Роль\r\nПример: 8 (916)")
    assert csv["Content-Disposition"].startswith("attachment; filename")
    assert limited.get(f"{IMPORT}template.xls").status_code == 404
    page = limited.get(IMPORT).content.decode()
    assert "Все строки загружаются в вуз «Первый вуз»" in page


def test_a_curator_without_a_university_imports_nothing(client: Client, db: None) -> None:
    user = User.objects.create_user("clerk", is_staff=True)
    user.groups.add(Group.objects.get(name="operator"), Group.objects.get(name="curator"))
    client.force_login(user)
    assert [client.get(f"{IMPORT}{name}").status_code for name in ("", "template.csv")] == [403, 403]
