"""Generates spreadsheets with cells of all types, and for each cell the value that was meant."""

import csv
from dataclasses import dataclass
from io import StringIO

from hypothesis import strategies as st

from tests.employees.workbooks import cell, number, sheet, text, workbook
from tests.profiles.test_phones import AREAS

INVISIBLE = ["", "\u200b", "\u202a", "\ufeff", "\u3164", "\u00a0", "\u2066", " "]
OTHER_TYPES = [
    *("TRUE", "ИСТИНА", "#N/A", "#ССЫЛКА!", "########", "Err:502", "5.551E6", "5,551E+6", "05.01.2024", "2024-01-05"),
    *("5-Jan", "янв.24", "12:30", "-5551009", "8121234567.5", "5551009,25", "inf", "-inf"),
]
PLACEHOLDERS = ["NULL", "null", "None", "nan", "NaN", "N/A", "<NA>", "NaT", "", " ", "\u200b"]
OTHER_CELLS = [
    *(number("1.234567890123457E+18"), number("8121234567.5"), number("0.1"), number("-79161234567"), number("1E400")),
    *(number("45000", style=1), number("45000.5", style=2), cell("b", "1"), cell("b", "0"), cell("e", "#REF!")),
    *(cell("n", "", "<f>A1</f>"), cell("d", "2024-01-05"), cell("str", "#N/A", "<f>A1</f>")),
]
HEADINGS = [" Phone\u00a0", "MAX_ID", "last_name\u200b", "university_name"]


@dataclass(frozen=True)
class Cell:
    """A cell: its text in CSV, its XML in XLSX, and the value that was meant; None if the file has to be refused."""

    text: str
    xml: str
    meant: str | None


_OTHER = st.one_of(
    st.sampled_from(OTHER_TYPES).map(lambda written: Cell(written, text(written), None)),
    st.sampled_from(OTHER_CELLS).map(lambda xml: Cell("#N/A", xml, None)),
)
_EMPTY = st.sampled_from(PLACEHOLDERS).map(lambda written: Cell(written, text(written), ""))
_NO_PHONE = st.sampled_from(PLACEHOLDERS).map(lambda written: Cell(written, text(written), None))


@st.composite
def _digits(draw: st.DrawFn, digits: str, meant: str) -> Cell:
    written = draw(st.sampled_from([digits, f"{digits}.0", f"{digits},00", f"'{digits}"]))
    position = draw(st.integers(0, len(written)))
    written = written[:position] + draw(st.sampled_from(INVISIBLE[:5])) + written[position:]
    written = draw(st.sampled_from(INVISIBLE)) + written + draw(st.sampled_from(INVISIBLE))
    cells = [text(written)]
    if not digits.startswith("+"):
        cells += [number(digits), number(f"{digits}.0"), cell("str", digits, "<f>A1</f>")]
    return Cell(written, draw(st.sampled_from(cells)), meant)


@st.composite
def phones(draw: st.DrawFn) -> Cell:
    area = draw(st.sampled_from([area for area in AREAS if area // 10 not in (79, 89)]))
    national = area * 10**7 + draw(st.integers(0, 10**7 - 1))
    spelled = _digits(draw(st.sampled_from(["", "7", "8", "+7"])) + str(national), f"+7{national}")
    return draw(st.one_of(spelled, spelled, spelled, _OTHER, _NO_PHONE))


@st.composite
def ids(draw: st.DrawFn) -> Cell:
    digits = str(draw(st.integers(1, 10**15 - 1)))
    return draw(st.one_of(_digits(digits, digits), _EMPTY, _OTHER))


def last_names() -> st.SearchStrategy[Cell]:
    names = st.sampled_from(["Иванов", "Ли", "O'Brien", "Нгуен Ван", "Müller", "王", "'t Hooft"])
    doubtful = st.sampled_from(["Null", "Nan", "42", "TRUE"])
    return st.one_of(
        names.map(lambda name: Cell(name, text(name), name)),
        doubtful.map(lambda name: Cell(name, text(name), None)),
        doubtful.map(lambda name: Cell(f"'{name}", text(f"'{name}"), name)),
        _EMPTY,
        _OTHER,
    )


Person = tuple[Cell, Cell, Cell]


def people() -> st.SearchStrategy[list[Person]]:
    return st.lists(st.tuples(phones(), ids(), last_names()), min_size=1, max_size=3)


def xlsx_of(rows: list[Person], gap: int) -> bytes:
    lines = [[*(cell.xml for cell in row), text("Вуз")] for row in rows]
    return workbook(sheet([text(heading) for heading in HEADINGS], *[[""]] * gap, *lines, [text(" ")]))


def csv_of(rows: list[Person], gap: int) -> str:
    out = StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(HEADINGS)
    writer.writerows([["", " ", "\u200b", ""]] * gap)
    writer.writerows([*(cell.text for cell in row), "Вуз"] for row in rows)
    return out.getvalue()
