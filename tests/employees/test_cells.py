"""Phones, IDs and names from cells: what spreadsheets make of them is read as it was meant, or refused in words."""

import string
from datetime import datetime

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from config.lib import text as texts
from employees.import_export.cells import read_id, read_phone, read_text, write
from profiles import names, phones, user_ids
from tests.profiles.test_phones import AREAS

EXAMPLES = settings(deadline=None)
INVISIBLE = "\u200b\u200e\u202a\u202c\u2060\u2066\u2069\ufeff\u00ad\u034f\ufe0f\u3164\uffa0\U000e0041"
NATIONAL = st.builds(lambda area, rest: area * 10**7 + rest, st.sampled_from(AREAS), st.integers(0, 10**7 - 1))
MONTHS = [
    *("января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября", "октября", "ноября"),
    *("декабря", "янв.", "Dec"),
]
IDS = st.integers(1, 10**15 - 1)


@st.composite
def spelled(draw: st.DrawFn, digits: str) -> str:
    """Return the digits as cells show them: with an apostrophe, invisible characters or zero decimals."""
    text = draw(st.sampled_from(["", "'"])) + digits
    text += draw(st.sampled_from(["", ".0", ",0", ".00", ",00"]))
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, len(text)))
        text = text[:position] + draw(st.sampled_from(INVISIBLE)) + text[position:]
    return draw(st.sampled_from(["", " ", "\u00a0", "\t"])) + text + draw(st.sampled_from(["", " ", "\n"]))


@EXAMPLES
@given(NATIONAL, st.sampled_from(["", "7", "8", "+7"]), st.data())
def test_a_phone_from_a_cell_is_the_phone_that_was_typed(number: int, prefix: str, data: st.DataObject) -> None:
    assert read_phone(data.draw(spelled(f"{prefix}{number}"))) == f"+7{number}"


@EXAMPLES
@given(IDS, st.data())
def test_an_id_from_a_cell_is_the_id_that_was_typed(number: int, data: st.DataObject) -> None:
    text = data.draw(spelled(str(number)))
    assert read_id(text) == user_ids.typed(text) == str(number)


@EXAMPLES
@given(NATIONAL, st.integers(1, 99), st.sampled_from([".", ","]))
def test_no_number_with_decimals_is_another_phone_or_id(number: int, fraction: int, point: str) -> None:
    for text in (f"{number}{point}{fraction}", f"8{number}{point}{fraction}", f"+7{number}{point}{fraction}"):
        assume(not text.endswith("0"))
        with pytest.raises(ValueError, match=r"."):
            read_phone(text)
        with pytest.raises(ValueError, match=r"."):
            phones.normalize(text)
        with pytest.raises(ValueError, match=r"."):
            user_ids.typed(text)


@EXAMPLES
@given(
    st.one_of(
        st.floats().filter(lambda value: not value.is_integer()).map(str),
        st.floats(min_value=1e16).map(str),
        st.integers(1, 10**12).map(lambda value: f"{value / 10 ** (len(str(value)) - 1):.3E}".replace(".", ",")),
        st.integers(-(10**12), -1).map(str),
        st.booleans().map(str),
        st.sampled_from(["ИСТИНА", "ложь", "NaN", "inf", "-inf"]),
        st.dates().map(str),
        st.dates().map(lambda date: f"{date:%d.%m.%Y}"),
        st.dates().map(lambda date: f"{date:%d-%b-%y}"),
        st.datetimes().map(lambda time: time.isoformat(" ", "seconds")),
        st.datetimes().map(lambda time: time.isoformat()),
        st.times().map(lambda time: f"{time:%H:%M}"),
        # Other years may begin a phone: 9161-11-22 33.
        st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31)).map(lambda time: f"{time:%Y-%m-%d %H}"),  # noqa: DTZ001
        st.tuples(st.dates(), st.sampled_from(MONTHS), st.sampled_from(["", " г.", " года"])).map(
            lambda drawn: f"{drawn[0].day} {drawn[1]} {drawn[0].year:04}{drawn[2]}"
        ),
        st.sampled_from(["янв. 24", "понедельник, 1 января 2024 г.", "Monday, January 1, 2024", "2024 г.", "May 5"]),
        st.sampled_from(["#N/A", "#Н/Д", "#REF!", "#ССЫЛКА!", "#VALUE!", "#DIV/0!", "#ДЕЛ/0!", "#NAME?", "#ИМЯ?"]),
        st.sampled_from(["########", "Err:502", "Ошибка:508", "янв.24", "05.янв", "5-Jan", "Jan-24"]),
        st.sampled_from(
            ["NULL", "null", "Null", "None", "N/A", "n/a", "<NA>", "NaT", "undefined", r"\N", "н/д", "-", "…"]
        ),
    )
)
def test_no_other_value_is_stored(text: str) -> None:
    for read in (read_phone, read_id, read_text, user_ids.typed):
        try:
            value = read(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017
        else:
            # What has no letter or digit is no name, as the rule for names has it.
            assert value == "" or (read is read_text and not any(map(str.isalnum, value)))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("8 121 234 567,00", "+78121234567"),
        ("8\u00a0916\u202f123\u00a045\u00a067", "+79161234567"),
        ("−", ""),
        ('="89161234567"', "+79161234567"),
        ("8−916−123−45−67", "+79161234567"),
        ("8.916.123.45.67", "+79161234567"),
        ("812.1234567", ""),
        ("2024-01-01 10", ""),
        ("01-02-2024 10", ""),
        ("20 2024-01-01", ""),
        ("8916-12-34-567", "+79161234567"),
        ("9161-23-45-67", "+79161234567"),
        ("+3725123456.0", "+3725123456"),
        ("-9161234567", ""),
        ("−9161234567", ""),
        ("5,551E+6", ""),
        ("79161234567E0", ""),
    ],
)
def test_phones(cell: str, value: str) -> None:
    if value:
        assert read_phone(cell) == value
    else:
        with pytest.raises(ValueError, match=r"."):
            read_phone(cell)


def test_an_error_says_what_was_found() -> None:
    cases: list[tuple[str | ValueError, str]] = [
        ("#REF!", "a spreadsheet error"),
        ("TRUE", "a logical value"),
        ("05.01.2024", "a date or time"),
        ("8,121E+10", "a number that may have lost digits"),
        ("12", "Enter a Russian phone number"),
        (ValueError("The formula has no result."), "The formula has no result."),
    ]
    for cell, words in cases:
        with pytest.raises(ValueError, match=words):
            read_phone(cell)


@pytest.mark.parametrize("cell", ["123\n456", "7\r\n729 082\u2028090", "1 234\n567,00"])
def test_numbers_on_several_lines_are_no_id(cell: str) -> None:
    for read in (read_phone, read_id, user_ids.typed):
        with pytest.raises(ValueError, match=r"."):
            read(cell)
    line = " ".join(cell.splitlines())
    assert read_id(line) == "".join(line.removesuffix(",00").split())


@pytest.mark.parametrize("text", ["user-7", "decanat-12", "marina.85", "a.b-c", "1e2x", "12.05.a", "may", "null-7"])
def test_legacy_ids_are_kept(text: str) -> None:
    assert read_id(text) == user_ids.typed(text) == text


@pytest.mark.parametrize("name", ["NULL", "nan", "None", "N/A", "\\N", "н/д"])
def test_a_placeholder_of_a_program_is_an_empty_name(name: str) -> None:
    assert read_text(name) == ""


@pytest.mark.parametrize("name", ["Null", "Nan", "Na", "42", "50%", "1/2", "(5)", "−5", "TRUE", "2024-01-05", "#1"])
def test_a_doubtful_name_needs_an_apostrophe(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_text(name)
    assert read_text(f"'{name}") == name


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("'Иванов", "Иванов"),
        ("'иванов", "иванов"),
        ("'O'Connor", "O'Connor"),
        ("''Иванов", "'Иванов"),
        ("\u200b'Мар'яна", "Мар'яна"),
        ("'Élodie", "Élodie"),
        ("'Север' (вуз)", "'Север' (вуз)"),
        ("'s-Gravesande", "'s-Gravesande"),
    ],
)
def test_an_apostrophe_before_a_name_is_removed(cell: str, name: str) -> None:
    assert read_text(cell) == name
    assert read_text(write(name, is_text=True)) == name


@pytest.mark.parametrize(
    "name",
    [
        "'t Hooft",
        "Иванов",
        "Мария 2",
        "👩‍🚀",
        "Май",
        "Августина",
        "Марта",
        "Воскресенье",
        "Вуз 1 мая",
        "Инфанта",
        "О’Коннор",
        "Генрих VIII",
    ],
)
def test_names_are_read_as_they_are(name: str) -> None:
    assert read_text(name) == write(name, is_text=True) == name


@pytest.mark.parametrize("name", ["Żółć", "ÖÄÜ", "ÄÖÜ Universität", "肖小效", "Èâàíîâ", "Иван\ufffdв", "»ванов"])
def test_what_looks_garbled_needs_an_apostrophe(name: str) -> None:
    with pytest.raises(ValueError, match=f"If the text is correct, put an apostrophe before it: '{name}"):
        read_text(name)
    assert read_text(f"'{name}") == name
    assert write(name, is_text=True) == f"'{name}"


@pytest.mark.parametrize("name", ["Èâàíîâ", "РРІР°РЅРѕРІ", "Ð˜Ð²Ð°Ð½Ð¾Ð²", "╨Ш╨▓╨░╨╜╨╛╨▓", "п≤п╡п╟п╫п╬п╡"])
def test_a_name_that_another_program_garbled_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="wrong encoding"):
        read_text(name)


def test_swapped_case_is_refused_unless_it_is_marked_as_right() -> None:
    with pytest.raises(ValueError, match=r"“иВАНОВ” .* Caps Lock.* before it: 'иВАНОВ"):
        read_text("иВАНОВ")
    assert read_text("'иВАНОВ") == "иВАНОВ"
    assert write("иВАНОВ", is_text=True) == "'иВАНОВ"


def test_a_very_long_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 1000 characters"):
        read_text("x" * 1001)


@EXAMPLES
@given(st.text(st.sampled_from("аЯn'- 5N\""), max_size=8))
def test_a_formula_that_only_marks_a_name_as_text_is_removed(name: str) -> None:
    """As CSV exports write it for each cell."""
    results = []
    doubled = name.replace('"', '""')
    for cell in (name.strip(), f'="{doubled}"'):
        try:
            results.append(read_text(cell))
        except ValueError as error:
            results.append(str(error))
    assert results[0] == results[1]


def test_a_number_as_a_name_needs_an_apostrophe() -> None:
    with pytest.raises(ValueError, match="If it is a name, put an apostrophe before it: '42"):
        read_text("42")


NAMES = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.text(string.digits + "'=+-@.,#eE/: NULnaи", max_size=8),
    st.text("' ИиOoñ中", max_size=8),
    st.sampled_from(
        ["NULL", "Null", "''Null", "42", "#N/A", "TRUE", "5-Jan", "'=1", "-1", "=1+1", '="42"', "2024-01-05T00:00"]
    ),
)


@EXAMPLES
@given(NAMES)
def test_an_exported_name_is_imported_unchanged(text: str) -> None:
    name = names.clean(texts.clean(text))
    assert names.clean(read_text(write(name, is_text=True))) == name
