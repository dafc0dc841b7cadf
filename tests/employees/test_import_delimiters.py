"""Which character separates the columns of a CSV file: the right one, or the file is refused."""

import csv
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_heading_with_its_comment_is_one_heading() -> None:
    """By the comma, “Телефон;Номер” would mean the phone as well."""
    [row] = read_csv("Телефон;Номер, личный\n89007771000;5\n".encode()).dict
    assert row["phone"] == "89007771000"


@pytest.mark.parametrize(
    ("headings", "named"),
    [
        ("Телефон, личный;Имя", "“Телефон, личный”"),
        ("Телефон, личный, для связи;Имя", "“Телефон, личный, для связи”"),
        ("Имя, обязательно;Телефон, личный;Фамилия, Отчество;ИНН", "“Фамилия, Отчество”"),
        ('"Отдел";ФИО;Телефон;"Роль, проект";Телефон, роль', "“Телефон, роль”"),
    ],
)
def test_it_names_the_headings_that_make_the_delimiter_unclear(headings: str, named: str) -> None:
    with pytest.raises(UnreadableFile, match="separates the columns") as refused:
        read_csv(f"{headings}\n89007771000, доб.;Ян, Ли\n".encode())
    assert str(refused.value).endswith(f" {named}")


NOTES = st.text(st.sampled_from("яN :/()"), max_size=8)


@given(
    st.sampled_from([",;", ",\t", ";,", ";\t", "\t,", "\t;"]),
    st.lists(st.tuples(st.sampled_from(["Телефон", "Тел.:", "Примечание", "заметка"]), NOTES), min_size=1, max_size=3),
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
