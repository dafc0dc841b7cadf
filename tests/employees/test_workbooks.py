"""XLSX workbooks: what each kind of cell means, which are refused, and how little memory a hostile one takes."""

import os
import random
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext, suppress
from io import BytesIO
from xml.sax.saxutils import quoteattr
from zipfile import ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook as Book
from openpyxl.styles import Font

from employees.import_export.tables import UnreadableFile, read_csv, read_xlsx
from employees.import_export.workbook import Cell
from tests.employees.workbooks import cell, number, rows, sheet, text, workbook

PHONE = text("phone")
MEGABYTE = 1024**2


def column(*cells: str, strings: str = "") -> list[Cell]:
    """Return the values of a sheet's only column."""
    return list(read_xlsx(workbook(sheet([PHONE], *([c] for c in cells)), strings=strings))["phone"])


def test_it_works() -> None:
    book = workbook(
        sheet([text("\ufeffPhone\u00a0"), text("comment"), text("LAST_NAME\u200b")], [number(8), "", text("Ли")])
    )
    assert read_xlsx(book).dict == [{"ROW": 2, "phone": "8", "last_name": "Ли"}]


@pytest.mark.parametrize(
    ("xml", "value"),
    [
        (number("89161234567"), "89161234567"),
        (number("8.9161234567E10"), "89161234567"),
        (number("89161234567.0"), "89161234567"),
        (number("999999999999999"), "999999999999999"),
        (cell("str", "89161234567", "<f>A1</f>"), "89161234567"),
        (cell("n", "89161234567", "<f>A1</f>"), "89161234567"),
        (cell("b", "1"), "TRUE"),
        (cell("e", "#N/A"), "#N/A"),
        (cell("d", "2024-01-05T00:00:00"), "2024-01-05T00:00:00"),
        ("<c t='inlineStr'><is><r><t>+7916</t></r><r><rPr/><t>1234567</t></r></is></c>", "+79161234567"),
        ("<c t='inlineStr'><is><t>東</t><rPh sb='0' eb='1'><t>ヒガシ</t></rPh></is></c>", "東"),
        (text("a_x000D_b"), "a\rb"),
    ],
)
def test_each_kind_of_cell_is_read(xml: str, value: str) -> None:
    assert column(xml) == [value]


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (number("1.234567890123457E+18"), "may have lost digits"),
        (number(10**15), "may have lost digits"),
        (number("1e999999999"), "may have lost digits"),
        (number("8121234567.5"), "may have lost digits"),
        (number("1e-999999999"), "may have lost digits"),
        (number("NaN"), "may have lost digits"),
        (number("45000", style=1), "date or time"),
        (number("45000", style=2), "date or time"),
        (cell("n", "", "<f>A1</f>"), "formula has no result"),
    ],
)
def test_what_is_no_value_is_an_error_of_its_cell(xml: str, words: str) -> None:
    (value,) = column(xml)
    assert isinstance(value, ValueError)
    assert words in str(value)


def test_shared_strings_are_read() -> None:
    strings = "<si><r><t>8916</t></r><r><t>1234567</t></r><rPh><t>x</t></rPh></si><si><t>2</t></si>"
    assert column(cell("s", "1"), cell("s", "0"), strings=strings) == ["2", "89161234567"]


def test_rows_and_cells_without_references_count_on() -> None:
    xml = f'<sheetData><row/><row>{PHONE}</row><row r="7"><c/></row><row>{number(5)}</row></sheetData>'
    assert read_xlsx(workbook(xml)).dict == [{"ROW": 8, "phone": "5"}]


@pytest.mark.parametrize(
    "code",
    [
        '"+"0', "\\+0", '"+1 "0000000000', "0%", "0.00%", "[$-419]ДД.ММ.ГГГГ", '"8"0', '#,##0 "₽"', "0E+00",
        # Leading zeros, also those that fill a cell, thousands and millions, no number at all, other digits.
        "00000000000", "0##########", "#,00000000000", "(000) 0000-0000", "[>5]00000000000;0", "*00", "0,", "0,,",
        "#,##0,", "0,.0", "0.0,", "0, ", "[>5]0,;0", ";;;", '" "', "[$+7-419]0", "[DBNum1]0", "[$-D07041E]0",
    ],
)  # fmt: skip
def test_a_number_that_is_shown_otherwise_is_an_error(code: str) -> None:
    assert isinstance(of_format(code), ValueError)


@given(st.integers(1, 14), st.integers(0, 10**14 - 1))
@example(10, 5551009)
@example(7, 5551009)
def test_a_number_is_read_unless_it_is_shown_with_leading_zeros(width: int, value: int) -> None:
    shown = f"{value:0{width}}"
    cell = of_format("0" * width, value)
    assert cell == shown if shown == str(value) else isinstance(cell, ValueError)


@pytest.mark.parametrize(
    "code",
    [
        "General",
        "0",
        "@",
        "#,##0",
        "0.00",
        "000-00-00",
        "[Red]0;-0",
        "[<=9999999]###-####;(###) ###-####",
        "_-* 0_-",
        r"[<=9999999]###\-####;\(###\)\ ###\-####",
        "0000000000",
        "##0000",
        "[$-419]0",
        "[$-10419]#,##0.00",
        "0;;",
        '_-* #,##0_-;-* #,##0_-;_-* "-"??_-;_-@_-',
    ],
)
def test_other_formats_are_read(code: str) -> None:
    assert of_format(code) == "4951234567"


def of_format(code: str, value: int = 4951234567) -> Cell:
    xfs = '<cellXfs><xf numFmtId="0"/><xf numFmtId="170"/></cellXfs>'
    styles = f'<numFmts><numFmt numFmtId="170" formatCode={quoteattr(code)}/></numFmts>{xfs}'
    table = read_xlsx(workbook(sheet([text("phone")], [number(value, style=1)]), styles=styles))
    shown: Cell = table.dict[0]["phone"]
    return shown


def test_two_rows_of_one_number_are_refused() -> None:
    xml = f'<sheetData><row r="1">{PHONE}</row><row r="2">{number(5)}</row><row r="2">{number(6)}</row></sheetData>'
    with pytest.raises(UnreadableFile):
        read_xlsx(workbook(xml))


def test_a_workbook_of_a_library_is_read() -> None:
    book = Book()
    page = book.create_sheet("first", 0)
    page.append(["phone", "last_name"])
    page.append([89161234567, "Ли"])
    page["A2"].font = Font(bold=True)
    page["C5000"].font = Font(bold=True)
    book.create_sheet("empty")
    book.create_chartsheet("chart")
    buffer = BytesIO()
    book.save(buffer)
    assert read_xlsx(buffer.getvalue()).dict == [{"ROW": 2, "phone": "89161234567", "last_name": "Ли"}]


def test_names_of_parts_are_compared_without_case() -> None:
    original = ZipFile(BytesIO(workbook(sheet([PHONE], [number(5)]))))
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name in original.namelist():
            archive.writestr(name.replace("sharedS", "SharedS"), original.read(name))
    assert list(read_xlsx(buffer.getvalue())["phone"]) == ["5"]


MERGED_PEOPLE = sheet([PHONE, text("last_name")], [number(5), text("a")], [number(6)], [number(7)])


@pytest.mark.parametrize("cells", ["B2:B3", "A2:A4", "B3:C3", "A1:A2", "A1:B4", "B4:B900"])
def test_merged_cells_of_people_are_refused(cells: str) -> None:
    merged = f'<mergeCells count="2"><mergeCell ref="D1:E1"/><mergeCell ref="{cells}"/></mergeCells>'
    with pytest.raises(UnreadableFile, match=f"The cells {cells} are merged"):
        read_xlsx(workbook(MERGED_PEOPLE + merged))


@pytest.mark.parametrize("cells", ["A1:B1", "D1:F1", "A5:B9", "A900:A901"])
def test_merged_cells_of_no_person_are_ignored(cells: str) -> None:
    merged = f'<mergeCells count="1"><mergeCell ref="{cells}"/></mergeCells>'
    assert len(read_xlsx(workbook(MERGED_PEOPLE + merged))) == 3


def test_merged_cells_of_a_library_are_refused() -> None:
    book = Book()
    page = book.active
    assert page is not None
    for row in (["phone", "last_name"], ["+79160900001", "Ли"], ["+79160900002", None]):
        page.append(row)
    page.merge_cells("B2:B3")
    buffer = BytesIO()
    book.save(buffer)
    with pytest.raises(UnreadableFile, match="The cells B2:B3 are merged"):
        read_xlsx(buffer.getvalue())


COLUMNS_READ = st.sampled_from(["last_name", "FIRST_NAME ", "max_id", "profile_source"])
COLUMNS_IGNORED = st.sampled_from(["comment", "Кафедра", "frist_name", ""])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(COLUMNS_READ | COLUMNS_IGNORED, st.booleans()), max_size=5, unique_by=lambda pair: pair[0]))
def test_a_filled_column_with_an_unknown_heading_is_reported(columns: list[tuple[str, bool]]) -> None:
    lines = [["phone", *(heading for heading, _ in columns)], ["5", *("x" if filled else "" for _, filled in columns)]]
    ignored = {
        chr(ord("B") + place): heading
        for place, (heading, filled) in enumerate(columns)
        if filled and heading in ("comment", "Кафедра", "frist_name", "")
    }
    assert read_csv("\n".join(map(";".join, lines)).encode()).ignored == ignored
    assert read_xlsx(workbook(sheet(*([text(cell) for cell in line] for line in lines)))).ignored == ignored


def test_blank_sheets_are_no_second_sheet() -> None:
    blank = sheet([text(" \u00a0"), text("\u200b")])
    assert read_xlsx(workbook(blank, sheet([PHONE], [number(5)]), blank))["phone"] == ["5"]
    with pytest.raises(UnreadableFile, match="Several sheets are filled: “Sheet 1”, “Sheet 2”"):
        read_xlsx(workbook(sheet([PHONE], [number(5)]), sheet([text("x")])))


REPEATED = '<sheetData><row><c r="A1"><v>1</v></c><c r="A1"><v>2</v></c></row></sheetData>'
DOCTYPE = '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
DAMAGED = {
    "not a zip": b"phone\n1\n",
    "empty": b"",
    "old Excel or a password": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 2000,
    "pdf": b"%PDF-1.7\n",
    "cut off": workbook(sheet([PHONE]))[:-100],
    "broken XML": workbook("<sheetData><row>"),
    "repeated cell": workbook(REPEATED),
    "no such string": workbook(sheet([PHONE], [cell("s", "0")])),
    "no such column": workbook('<sheetData><row><c r="ZZZ1"><v>1</v></c></row></sheetData>'),
    "no such row": workbook('<sheetData><row r="1048577"/></sheetData>'),
    "row is no number": workbook('<sheetData><row r="-1"/></sheetData>'),
    "entity": workbook(sheet([PHONE]), strings="<si><t>&e;</t></si>", prolog=DOCTYPE),
    "unknown encoding": workbook(sheet([PHONE]), prolog='<?xml version="1.0" encoding="x-none"?>'),
    "a part twice": workbook(sheet([PHONE]), parts={"XL/Workbook.xml": ""}),
}


def archive_of(method: int, *names: str) -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w", method) as archive:
        for name in names:
            archive.writestr(name, "<a/>")
    return buffer.getvalue()


DAMAGED["a document"] = archive_of(ZIP_DEFLATED, "[Content_Types].xml", "word/document.xml")
DAMAGED["an OpenDocument sheet"] = archive_of(ZIP_STORED, "mimetype", "content.xml")
DAMAGED["another compression"] = archive_of(ZIP_LZMA, "xl/workbook.xml")
encrypted = bytearray(workbook(sheet([PHONE])))
for position in range(len(encrypted) - 4):
    if encrypted[position : position + 4] == b"PK\x01\x02":
        encrypted[position + 8] |= 1
DAMAGED["encrypted parts"] = bytes(encrypted)
# Marked as UTF-8, which they are not, before each part but not in the directory of the archive.
unreadable = bytearray(workbook(sheet([PHONE])))
for position in range(len(unreadable) - 4):
    if unreadable[position : position + 4] == b"PK\x03\x04":
        unreadable[position + 7] |= 8
        unreadable[position + 30] = 0x80
DAMAGED["names of parts that cannot be read"] = bytes(unreadable)


@pytest.mark.parametrize("kind", DAMAGED)
def test_it_refuses_what_is_no_workbook(kind: str) -> None:
    with pytest.raises(UnreadableFile, match=r"^The file is not an XLSX workbook\."):
        read_xlsx(DAMAGED[kind])


def test_it_survives_changed_bytes() -> None:
    chance = random.Random(16)
    original = workbook(sheet([PHONE, text("last_name")], [number(5), cell("s", "0")]), strings="<si><t>Ли</t></si>")
    for _ in range(int(os.environ.get("FUZZ_BYTES", "200"))):
        content = bytearray(original)
        for _change in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        with suppress(UnreadableFile):
            read_xlsx(bytes(content))


HEADER = f'<row r="1">{PHONE}</row>'
LAST = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'


def a_long_format() -> bytes:
    styles = f'<numFmts><numFmt numFmtId="200" formatCode="{"[" * MEGABYTE}"/></numFmts>'
    return workbook(sheet([PHONE]), styles=styles)


READABLE: dict[str, Callable[[], bytes]] = {
    "the whole sheet declared": lambda: workbook(
        f'<dimension ref="A1:XFD1048576"/><sheetData>{HEADER}{LAST}</sheetData>'
    ),
    "empty rows": lambda: workbook(f"<sheetData>{HEADER}{'<row/>' * 150_000}</sheetData>"),
    "a long format": a_long_format,
    "empty strings": lambda: workbook(sheet([PHONE]), strings="<si/>" * 150_000),
}
TOO_LARGE: dict[str, Callable[[], bytes]] = {
    "nested elements": lambda: workbook("<a>" * MEGABYTE),
    "long text": lambda: workbook(sheet([text("x" * MEGABYTE)])),
    "a long comment": lambda: workbook(f"<!--{'x' * 3 * MEGABYTE}-->"),
    "many attributes": lambda: workbook("<a " + " ".join(f'a{n}=""' for n in range(300_000)) + "/>"),
    "zeros": lambda: workbook(sheet([PHONE]), parts={"xl/media/a.bin": b"\0" * 65 * MEGABYTE}),
    "many parts": lambda: workbook(sheet([PHONE]), parts={f"{n}": "" for n in range(3_000)}),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", [*READABLE, *TOO_LARGE])
def test_a_hostile_workbook_takes_little_memory(kind: str) -> None:
    content = {**READABLE, **TOO_LARGE}[kind]()
    tracemalloc.start()
    try:
        with nullcontext() if kind in READABLE else pytest.raises(UnreadableFile, match="too large to be read"):
            read_xlsx(content, max_rows=10_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEGABYTE


def test_the_number_of_elements_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    book = workbook(f"<sheetData>{rows([PHONE])}{'<row><c/></row>' * 500}</sheetData>")
    read_xlsx(book)
    monkeypatch.setattr("config.lib.xml_stream.Budget.__init__", lambda self: setattr(self, "elements", 900))
    with pytest.raises(UnreadableFile, match="too large to be read"):
        read_xlsx(book)


@pytest.mark.parametrize("heading", ["", "Телефон"])
def test_a_csv_may_have_columns_without_letters(heading: str) -> None:
    commas = "," * 18_300
    content = f"Телефон,Фамилия{commas}{heading}\n89161234567,Ким{commas}a\n".encode()
    if heading:
        with pytest.raises(UnreadableFile, match="A and 18302"):
            read_csv(content)
    else:
        assert read_csv(content).ignored == {"18302": ""}
