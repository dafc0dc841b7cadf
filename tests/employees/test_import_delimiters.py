"""Which character separates the columns of a CSV file: the right one, or the file is refused."""

import csv
import re
from io import StringIO
from itertools import combinations, permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from employees.import_export.cells import read_phone
from employees.import_export.headings import column_of
from employees.import_export.tables import UnreadableFile, read_csv


@given(
    st.sampled_from(",;\t"),
    st.lists(st.text(st.sampled_from(",;\t\n\"'яN "), max_size=12), min_size=1, max_size=3),
    st.booleans(),
)
def test_separators_within_quotes_do_not_count(delimiter: str, headings: list[str], is_first: bool) -> None:
    """Whatever the headings of the other columns are."""
    file = StringIO(newline="")
    quoted = [f"заметка {number} {heading}" for number, heading in enumerate(headings)]
    names = ["phone", "last_name", *quoted] if is_first else [*quoted, "last_name", "phone"]
    values = ["89007771000", "Ли", *quoted] if is_first else [*quoted, "Ли", "89007771000"]
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL).writerows([names, values])
    [row] = read_csv(file.getvalue().encode()).dict
    assert (row["phone"], row["last_name"]) == ("89007771000", "Ли")


def test_separators_within_a_heading_do_not_count_either() -> None:
    """Without quotes, “Телефон;Фамилия, имя, отчество” has more known headings by the comma, but no phone."""
    with pytest.raises(UnreadableFile) as refused:
        read_csv("Телефон;Фамилия, имя, отчество\n89007771000;Ли Ян\n".encode())
    assert "Телефон" not in str(refused.value)
    assert "Фамилия, имя, отчество" in str(refused.value)
    table = read_csv("Телефон;Имя;Должность, отчество, фамилия\n89007771000;Ян;доцент\n".encode())
    assert [(row["phone"], row["first_name"]) for row in table.dict] == [("89007771000", "Ян")]


@pytest.mark.parametrize(
    ("content", "values"),
    [
        # By the comma, “Телефон;Номер” would mean the phone as well.
        ("Телефон;Номер, личный\n89007771000;5\n", ("89007771000", "")),
        ("Телефон, личный;Имя\n89007771000;Ян\n", ("89007771000", "Ян")),
        ("Имя, обязательно;Телефон, обязательно\nЯн;89007771000\n", ("89007771000", "Ян")),
        ("Отдел\t;Телефон\t\nПраво\t;89007771000\t\n", ("89007771000\t", "")),
        ("Телефон\t;Отдел\t\n89007771000\t;Право\t\n", ("89007771000\t", "")),
    ],
)
def test_a_heading_with_its_comment_is_one_heading(content: str, values: tuple[str, str]) -> None:
    [row] = read_csv(content.encode()).dict
    assert (row["phone"], row.get("first_name", "")) == values


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("delimiter", ",;\t")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1251"])
def test_a_first_line_for_excel_names_the_delimiter(quote: str, delimiter: str, end: str, encoding: str) -> None:
    """Also if another one would be likely, or equally so."""
    for other in ",;\t".replace(delimiter, ""):
        headings = delimiter.join([f"Телефон{other} личный", f"Имя{other} обязательно", "Фамилия"])
        cells = delimiter.join(["89161234567", f"Ян{other} 2", "Ли"])
        content = end.join([f"{quote}sep={delimiter}{quote}", headings, "", cells]).encode(encoding)
        assert list(read_csv(content)) == [(4, "89161234567", "Ли", f"Ян{other} 2")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", ",;\t")
@pytest.mark.parametrize("line", ["sep={0}{0}", "SEP={0}{0}{0}{0}", '"sep={0}"{0}{0} '])
def test_a_line_for_excel_may_be_filled_up(line: str, delimiter: str, encoding: str) -> None:
    """As by a program that takes it for a row."""
    content = f"{line.format(delimiter)}\nТелефон;Имя;Роль\n89161234567;Ян;\n".replace(";", delimiter)
    assert list(read_csv(content.encode(encoding))) == [(3, "89161234567", "Ян", "")]


@pytest.mark.parametrize("content", ["sep=;", "SEP=;\nОтдел;Имя\n1;2\n", "sep=;\nТелефон,Имя\n89161234567,Ян\n"])
def test_a_line_for_excel_does_not_replace_the_headings(content: str) -> None:
    with pytest.raises(UnreadableFile, match="no “Phone” column"):
        read_csv(content.encode())


def test_a_line_for_excel_counts_as_a_row_in_errors() -> None:
    with pytest.raises(UnreadableFile, match="Row 3: the file is not valid CSV"):
        read_csv('sep=;\nТелефон;Имя\n89161234567;"Ян\n'.encode())
    assert list(read_csv("sep=;\nТелефон;Имя\n1;2;3\n".encode()).errors) == [3]


@pytest.mark.parametrize("delimiter", ";\t")
@pytest.mark.parametrize(
    ("headings", "cells"),
    [
        ("Фамилия;Имя;Телефон;Должность, вуз", "Ли;Ян;89161234567;доцент, МГУ"),
        ("Должность, вуз;Имя;Фамилия;Телефон", "доцент, МГУ;Ян;Ли;89161234567"),
        ("Телефон;Имя;Адрес (город, университет)", "89161234567;Ян;Москва, МГУ"),
        ("Телефон;Адрес (город, улица)", "89161234567;Москва, Мира"),
    ],
)
def test_a_comma_that_finds_no_phone_and_few_headings_is_not_meant(delimiter: str, headings: str, cells: str) -> None:
    [row] = read_csv(f"{headings}\n{cells}\n".replace(";", delimiter).encode()).dict
    assert row["phone"] == "89161234567"
    assert row.get("first_name", "Ян") == "Ян"
    assert "university_name" not in row


@pytest.mark.parametrize("delimiter", ",;\t")
def test_spaces_before_a_quotation_mark_do_not_count(delimiter: str) -> None:
    """Also in the headings, where the text in quotes may contain the delimiter."""
    lines = [' "Телефон", "Фамилия","Отдел,; имя",   "Имя"', '"89161234567", "Ли", "1,\n2;",   "Ян"']
    text = "\n".join(lines).replace('",', f'"{delimiter}')
    assert list(read_csv(text.encode())) == [(2, "89161234567", "Ли", "Ян")]


@pytest.mark.parametrize("heading", ["Телефон мобильный", "Телефон сотовый", "Тел. моб.", "Тел. (сот.)", "Моб. тел."])
@pytest.mark.parametrize("delimiter", ",;\t")
def test_the_words_of_a_phone_have_any_order(heading: str, delimiter: str) -> None:
    """Unless a separator may part them."""
    content = f"{heading};Имя\n89161234567;Ян\n".replace(";", delimiter)
    assert list(read_csv(content.encode())) == [(2, "89161234567", "Ян")]
    first, second = heading.split()
    for other in ",;\t":
        assert column_of(f"{first}{other} {second}") is (None if first.startswith("Тел") else "phone")


@pytest.mark.parametrize("headings", ["Телефон, мобильный;Имя", "Имя;Тел., моб.", "ФИО;Телефон, сотовый"])
def test_two_phones_without_quotes_are_refused(headings: str) -> None:
    with pytest.raises(UnreadableFile):
        read_csv(f"{headings}\n8 495 111-11-11, 8 916 123-45-67;Ян\n".encode())


COLUMNS = {"Телефон": "89161234560", "Фамилия": "Ли", "Имя": "Ян", "Отдел": "Право", "Адрес": "Мира"}


@pytest.mark.long
@settings(max_examples=300)
@given(
    st.sampled_from(",;\t"),
    st.permutations([*COLUMNS]),
    st.lists(st.integers(2, len(COLUMNS)), min_size=3, max_size=5),
    st.data(),
)
def test_an_open_quote_swallows_no_short_row(
    delimiter: str, headings: list[str], lengths: list[int], data: st.DataObject
) -> None:
    """Whatever the cells are in which it begins and ends; a row may lack the cells after its phone."""
    fewest = headings.index("Телефон") + 1
    rows = [headings, *([COLUMNS[name] for name in headings][: max(length, fewest)] for length in lengths)]
    assert not read_csv("\n".join(map(delimiter.join, rows)).encode()).errors
    opened, closed = sorted(data.draw(st.sampled_from([*combinations(range(len(rows)), 2)])))
    first, last = (data.draw(st.integers(0, len(rows[number]) - 1)) for number in (opened, closed))
    # A note that ends with a line of only a phone.
    is_note = closed == opened + 1 and rows[closed][: last + 1] == [COLUMNS["Телефон"]]
    assume(not is_note or opened == 0 or headings[first] not in ("Отдел", "Адрес"))
    rows[opened] = [*rows[opened][:first], f'"{rows[opened][first]}', *rows[opened][first + 1 :]]
    rows[closed] = [*rows[closed][:last], f'{rows[closed][last]}"', *rows[closed][last + 1 :]]
    try:
        table = read_csv("\n".join(map(delimiter.join, rows)).encode())
    except UnreadableFile:
        assert opened == 0
    else:
        phone = str(table.dict[opened - 1]["phone"])
        if "\n" in phone:
            with pytest.raises(ValueError, match="Enter a Russian phone number"):
                read_phone(phone)
        else:
            assert list(table.errors) == [opened + 1]


@pytest.mark.parametrize("heading", ["Фамилия", "Имя", "Отчество", "Вуз"])
def test_an_open_quote_swallows_no_row_of_a_phone_alone(heading: str) -> None:
    rows = '89161234560;"Ли\n89161234561\n89161234562"\n'
    assert list(read_csv(f"Телефон;{heading};Роль\n{rows}".encode()).errors) == [2]


NOTES_OF_TWO_LINES = [
    "корпус 1;\n8 (495) 123-45-67",
    "8 (495) 123-45-67\n8 (916) 123-45-67",
    "8 (495) 123-45-67; доб. 1\n8 (495) 123-45-67; доб. 2",
    "каб. 5\n8 (495) 123-45-67; доб. 12",
    "каб. 5\n8 (495) 123-45-67, доб. 12",
    "каб.;\nкорпус 2; 123-45-67",
    "секретарь\n+7 495 123-45-67; факс 123-45-68",
    "секретарь: 8 (495) 123-45-67;\nпосле 18:00",
    "звонить\nтолько вечером",
    "звонить\nпосле 18; не в пятницу",
    "договор 12\n01.02.2024; до 31.12.2024",
    "договор №12, 2024\n1234567; 2025",
    "паспорт\n4508 123456, выдан 01.02.2003",
    "ИНН 7714012345\nСНИЛС 112-233-445 95",
    "Москва\n125009, Тверская, 7; кв. 5",
    "Москва\n125009 Тверская 7, кв. 5",
    "125009, Москва\nТверская ул., д. 7, корп. 2, кв. 115",
    "Москва; центр\nул. Мира; 1",
    "г. Москва,\nпр-т Мира, д. 101, стр. 1, оф. 205, 129085",
    "Тверская, 7\n125009; Москва",
    "Россия, 125009\nМосква; Тверская; 7",
    "Санкт-Петербург\n191186; Невский пр., 28",
    "ул. Мира, 5\n620002, Екатеринбург",
    "620002\nул. Мира, 19",
    "общежитие 3\nкомната 412; этаж 4",
    "МО, Химки\n141400; мкр. 7; д. 12; кв. 301",
    "филиал\n8-800-555-35-35 (бесплатно)",
    "email: ivanov@msu.ru\nтел. 8 495 939-10-00; доб. 5",
    "кафедра 1\nauditorium 1234567",
    "отпуск\n01.07.2024, 28 дней",
    "приказ\n№ 1234567 от 01.09.2023; с 01.10.2023",
]
TABLES = [
    ["Телефон", "Фамилия", "Имя", "Заметка"],
    ["Телефон", "Фамилия", "Заметка"],
    ["Фамилия", "Имя", "Телефон", "Заметка", "Рабочий телефон", "ИНН"],
    ["Заметка", "Телефон", "Фамилия"],
    ["Фамилия", "Имя", "Заметка", "Телефон"],
    ["Имя", "Телефон", "Заметка", "Факс", "Фамилия"],
]
OTHER_CELLS = {"Рабочий телефон": "8 495 939-10-00", "Факс": "8 495 939-10-01", "ИНН": "7714012345"}


@pytest.mark.parametrize("headings", TABLES)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("delimiter", ",;\t")
def test_notes_and_addresses_of_several_lines_are_no_rows(delimiter: str, end: str, headings: list[str]) -> None:
    file = StringIO(newline="")
    notes = [note.replace("\n", end) for note in NOTES_OF_TWO_LINES]
    notes += [f"{note}{end}" for note in notes]
    cells = COLUMNS | OTHER_CELLS
    rows = [[note if name == "Заметка" else cells[name] for name in headings] for note in notes]
    csv.writer(file, delimiter=delimiter).writerows([headings, *rows])
    table = read_csv(file.getvalue().encode())
    assert [notes[number - 2] for number in table.errors] == []
    assert len(table) == len(notes)


PHONE, EXTENSION = "89007771000", " доб. 5"
CELLS = {"Фамилия": "Ли", "Имя": "Ян", "First name": "Ян", "Phone": PHONE, "Телефон": PHONE, "Отдел": "Право"}
COMMENTS = ["", "", " обязательно", " личный", " для связи", " required"]


@pytest.mark.long
@settings(max_examples=200)
@given(
    st.sampled_from([*permutations(",;\t", 2)]),
    st.lists(st.sampled_from([*CELLS]), min_size=2, max_size=4, unique_by=lambda one: column_of(one) or one),
    st.lists(st.sampled_from(COMMENTS), min_size=4, max_size=4),
    st.lists(st.sampled_from(["", "", EXTENSION]), min_size=4, max_size=4),
)
def test_a_comment_starts_no_column(
    delimiters: tuple[str, str], headings: list[str], comments: list[str], notes: list[str]
) -> None:
    """The file is read right, or refused if the headings and the rows contain both separators."""
    delimiter, other = delimiters
    assume({"Телефон", "Phone"}.intersection(headings))
    first = [f"{heading}{other * bool(comment)}{comment}" for heading, comment in zip(headings, comments, strict=False)]
    second = [f"{CELLS[heading]}{other * bool(note)}{note}" for heading, note in zip(headings, notes, strict=False)]
    try:
        [row] = read_csv(f"{delimiter.join(first)}\n{delimiter.join(second)}\n".encode()).dict
    except UnreadableFile as refused:
        assert all(other in "".join(line) for line in (first, second))
        named = re.findall("“([^”]*)”", str(refused).partition("rename them: ")[2])
        assert named
        assert other != "," or set(named) <= set(first)
    else:
        cells = {column_of(heading): cell for heading, cell in zip(headings, second, strict=True)}
        assert row == {"ROW": 2} | {column: cell for column, cell in cells.items() if column}


@pytest.mark.parametrize(
    "content",
    [
        "Телефон, обязательно;Имя, обязательно\n8 916 123-45-67, доб. 5;Ян\n",
        "Phone, required;First name, required;Department\n+12025550100;Ann;Law, Arts\n",
        "Телефон, имя;Номер\n8 916 123-45-67, Ян;5\n",
        "Имя;обязательно,Телефон;личный\nЯн,89007771000;доб. 5\n",
        "Фамилия,Телефон,Имя,Отчество;;;\nЛи,89161234567,Ян,Юрьевич;;;\n",
    ],
)
def test_a_known_heading_hides_no_other_delimiter(content: str) -> None:
    with pytest.raises(UnreadableFile, match="It is unclear whether"):
        read_csv(content.encode())


@pytest.mark.parametrize(
    ("headings", "named"),
    [
        ("Телефон, личный;Имя", "“Телефон, личный”"),
        ("Телефон, личный, для связи;Имя", "“Телефон, личный, для связи”"),
        (
            "Имя, обязательно;Телефон, личный;Фамилия, Отчество;ИНН",
            "“Имя, обязательно”, “Телефон, личный”, “Фамилия, Отчество”",
        ),
        ('"Отдел";ФИО;Телефон;"Роль, проект";Телефон, роль', "“Телефон, роль”"),
        ("ФИО;Телефон, моб.", "“Телефон, моб.”"),
        ("Сотрудники;Телефон (раб., моб.)", "“Телефон (раб., моб.)”"),
        ("Телефон, обязательно;Имя, обязательно", "“Телефон, обязательно”, “Имя, обязательно”"),
        ("Фамилия,Телефон,Имя;;", "“Имя;;”"),
    ],
)
def test_it_names_the_headings_that_make_the_delimiter_unclear(headings: str, named: str) -> None:
    with pytest.raises(UnreadableFile, match="separates the columns") as refused:
        read_csv(f"{headings}\n89007771000, доб.;Ян, Ли\n".encode())
    assert str(refused.value).partition("rename them: ")[2] == named


NOTES = st.text(st.sampled_from("яN :/()"), max_size=8)


@given(
    st.sampled_from([",;", ",\t", ";,", ";\t", "\t,", "\t;"]),
    st.lists(
        st.tuples(st.sampled_from(["Телефон", "Тел.:", "Примечание", "заметка"]), NOTES),
        min_size=1,
        max_size=3,
        # A repeated heading is refused whatever it contains.
        unique_by=lambda one: (one[0], re.sub(" +", " ", one[1])),
    ),
    st.sampled_from(["моб.", "моб.)", "имя", "роль", "яN"]),
    st.booleans(),
    st.booleans(),
)
def test_separators_without_quotes_start_no_column(
    delimiters: str, unknown: list[tuple[str, str]], part: str, is_first: bool, is_named: bool
) -> None:
    """No file gives other rows than those of its delimiter, whatever its unknown headings contain."""
    delimiter, other = delimiters[0], delimiters[1]
    headings = [f"{word} ({note}{other} {part}" for word, note in unknown]
    known = ["Фамилия", "Имя", "Отчество", "Телефон"] if is_named else ["ФИО преподавателя"]
    values = ["Ли", "Ян", "", "89007771000"] if is_named else ["Ли"]
    notes = [f"8 495 111-11-11{other} 89007771001"] * len(headings)
    rows = [[*headings, *known], [*notes, *values]] if is_first else [[*known, *headings], [*values, *notes]]
    text = "\n".join(map(delimiter.join, rows))
    try:
        read = [(row["phone"], row["last_name"], row["first_name"]) for row in read_csv(text.encode()).dict]
    except UnreadableFile:
        assert not is_named or any(map(column_of, other.join(headings).split(other)))
    else:
        assert is_named
        assert read == [("89007771000", "Ли", "Ян")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Имя;Телефон (раб., моб.)\nЯн;8 495 111-11-11, 8 916 123-45-67\n", "whether “,” or “;” separates the columns"),
        ("Фамилия;Имя;Телефон (раб., моб.)\nЛи;Ян;8 495 111-11-11, 8 916 123-45-67\n", "no “Phone” column"),
        ("Фамилия;Имя;Отчество;Телефон, моб.\nЛи;Ян;;8 916 123-45-67\n", "no “Phone” column"),
        ('"Фамилия";"Имя";"Телефон, мобильный"\n"Ли";"Ян";"8 916 123-45-67"\n', "no “Phone” column"),
        ('"Фамилия";"Телефон, мобильный"\n"Ли";"8 916 123-45-67"\n', "no “Phone” column"),
        ("ФИО;Телефон, моб.\nЛи Ян;8 916 123-45-67\n", "whether “,” or “;” separates the columns"),
        ("ФИО вуза;Телефон (раб., моб.)\nЛи Ян;8 495 111-11-11, 8 916 123-45-67\n", "whether “,” or “;” separates"),
        ("ФИО вуза;Телефон, моб., роль\nЛи;8 495, 8 916 123-45-67,\n", "whether “,” or “;” separates the columns"),
        ("Сотрудники\tТелефон, моб.\nЛи Ян\t8 916 123-45-67\n", "whether “,” or “tab” separates the columns"),
    ],
)
def test_half_of_a_heading_is_no_phone(content: str, words: str) -> None:
    with pytest.raises(UnreadableFile, match=words):
        read_csv(content.encode())
