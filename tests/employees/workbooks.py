"""Build XLSX workbooks from raw XML, valid and hostile ones."""

from collections.abc import Mapping
from io import BytesIO
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
# The styles of cells: 0 a plain number, 1 a built-in date format, 2 one of the workbook's own.
_STYLES = (
    '<numFmts><numFmt numFmtId="170" formatCode="dd\\.mm\\.yyyy"/></numFmts>'
    '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="170"/></cellXfs>'
)


def text(value: str) -> str:
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'


def number(value: object, style: int = 0) -> str:
    return f'<c s="{style}"><v>{value}</v></c>'


def cell(kind: str, value: str, formula: str = "") -> str:
    return f'<c t="{kind}">{formula}<v>{escape(value)}</v></c>'


def rows(*lines: list[str]) -> str:
    """Return the XML of rows of cells; an empty text is no cell."""
    return "".join(
        f'<row r="{row}">' + "".join(c.replace("<c", f'<c r="{chr(65 + column)}{row}"', 1)
                                     for column, c in enumerate(line) if c) + "</row>"
        for row, line in enumerate(lines, start=1)
    )  # fmt: skip


def workbook(
    *sheets: str,
    strings: str = "",
    prolog: str = "",
    styles: str = _STYLES,
    parts: Mapping[str, bytes | str] | None = None,
) -> bytes:
    """Return a workbook with the XML of each sheet's rows; ``parts`` are added, or replace parts of the same name."""
    numbers = range(1, len(sheets) + 1)
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers
    )
    relations += f'<Relationship Id="s" Type="{_RELATIONS}/sharedStrings" Target="/xl/sharedStrings.xml"/>'
    relations += f'<Relationship Id="t" Type="{_RELATIONS}/styles" Target="styles.xml"/>'
    names = "".join(f'<sheet name="Sheet {n}" sheetId="{n}" r:id="r{n}"/>' for n in numbers)
    main = f'<Relationship Id="m" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/>'
    contents: dict[str, bytes | str] = {
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}">{main}</Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>{names}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">{relations}</Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}">{styles}</styleSheet>',
        "xl/sharedStrings.xml": f'{prolog}<sst xmlns="{_MAIN}">{strings}</sst>',
    }
    for n, sheet in zip(numbers, sheets, strict=True):
        contents[f"xl/worksheets/sheet{n}.xml"] = f'<worksheet xmlns="{_MAIN}">{sheet}</worksheet>'
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in {**contents, **(parts or {})}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sheet(*lines: list[str]) -> str:
    return f"<sheetData>{rows(*lines)}</sheetData>"
