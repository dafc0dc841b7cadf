"""Read a CSV or XLSX file as a table of employees: the known columns and the filled rows, with their row numbers."""

import csv
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain

from django.utils.translation import gettext as _
from openpyxl.utils import get_column_letter
from tablib import Dataset

from config.lib import text as texts
from employees.import_export.cells import LONGEST
from employees.import_export.encodings import UndecodableFile, decode
from employees.import_export.workbook import Cell, InvalidWorkbook, Row, Workbook
from employees.naming import NAMES
from profiles.typed_values import visible

# The columns that an import reads.
COLUMNS = ("phone", *NAMES, "max_id", "role", "inn", "kpp", "university_name")
# Holds the number of the row in the file; it is no heading, because headings are lower case.
ROW_NUMBER = "ROW"
_LINE = re.compile(r"[^\r\n]+")
_WORKBOOK = b"PK\x03\x04"


# The column that only exports have.
_EXPORTED = "profile_source"


class Table(Dataset):
    """The rows of a file; ``ignored`` has the headings of columns that are filled but not read, by their letters."""

    def __init__(self, headers: list[str]) -> None:
        super().__init__(headers=headers)
        self.ignored: dict[str, str] = {}


class UnreadableFile(ValueError):
    """Raised for a file that is not a table of employees; the message gives the reason."""


def read_csv(content: bytes, *, max_rows: int | None = None) -> Table:
    """Read CSV with commas, semicolons or tabs, in UTF-8, UTF-16 or Windows-1251; raise UnreadableFile for others."""
    if content.startswith(_WORKBOOK):
        raise UnreadableFile(_("The file is a workbook and not CSV. Choose the format xlsx, or name it .xlsx."))
    try:
        return _table(_csv_rows(decode(content)), max_rows)
    except UndecodableFile as error:
        raise UnreadableFile(str(error)) from None


def _csv_rows(text: str) -> Iterator[Row]:
    """Return the rows; raise UnreadableFile for broken quotes, and for a filled cell right of the first row's cells."""
    lines = (line[0] for line in _LINE.finditer(text))
    header = next((line for line in lines if not _is_blank(line.strip(";,\t"))), "")
    reader = csv.reader(StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
    width = number = 0
    try:
        for number, row in enumerate(reader, start=1):
            cells: dict[int, Cell] = {column: cell for column, cell in enumerate(row, start=1) if not _is_blank(cell)}
            if not cells:
                continue
            width = width or len(row)
            if max(cells) > width:
                numbers = {"row": number, "cells": max(cells), "columns": width}
                raise UnreadableFile(_("Row %(row)d has %(cells)d cells, but the header has %(columns)d.") % numbers)
            yield number, cells
    except csv.Error as error:
        message = _("Row %(row)d: the file is not valid CSV: %(error)s")
        raise UnreadableFile(message % {"row": number + 1, "error": error}) from None


def read_xlsx(content: bytes, *, max_rows: int | None = None) -> Table:
    """Read the only filled sheet of a workbook; raise UnreadableFile for other content, and for several such sheets."""
    try:
        filled = ((name, _filled(rows)) for name, rows in Workbook(content).sheets())
        sheets = [(name, first, rows) for name, rows in filled if (first := next(rows, None))]
        if len(sheets) > 1:
            names = ", ".join(f"“{texts.clean(name)[:50]}”" for name, _first, _rows in sheets[:10])
            message = _("Several sheets are filled: %s. Keep one sheet with all people, and delete the others.")
            raise UnreadableFile(message % names)
        return _table((row for _name, first, rows in sheets for row in chain([first], rows)), max_rows)
    except InvalidWorkbook as error:
        raise UnreadableFile(str(error)) from None


def _table(rows: Iterable[Row], max_rows: int | None) -> Table:
    rows = iter(rows)
    _number, cells = next(rows, (1, {}))
    headings = {column: visible(str(cell)) for column, cell in cells.items()}
    columns = _columns(headings)
    read = {*columns.values(), *(column for column, heading in headings.items() if heading.casefold() == _EXPORTED)}
    table, ignored = Table([ROW_NUMBER, *columns]), set[int]()
    for number, cells in rows:
        if max_rows is not None and len(table) >= max_rows:
            text = _("The file has more than %d rows. Split it, or use the import_employees command.")
            raise UnreadableFile(text % max_rows)
        table.append([number, *(cells.get(column, "") for column in columns.values())])
        ignored.update(column for column in cells.keys() - read if not _is_blank(cells[column]))
    table.ignored = {get_column_letter(column): headings.get(column, "")[:50] for column in sorted(ignored)}
    return table


def _columns(headings: dict[int, str]) -> dict[str, int]:
    """Return the positions of the known columns; raise UnreadableFile if one is repeated or “phone” is missing."""
    positions: dict[str, int] = {}
    for column, heading in headings.items():
        first = positions.setdefault(heading.casefold(), column)
        if heading and first != column:
            message = _("The heading “%(heading)s” is repeated in columns %(first)s and %(second)s. Keep one of them.")
            letters = {"first": get_column_letter(first), "second": get_column_letter(column)}
            raise UnreadableFile(message % {"heading": heading[:50], **letters})
    if "phone" not in positions:
        names = ", ".join(filter(None, headings.values())) or "—"
        message = _("The file has no “phone” column. Its columns: %s")
        raise UnreadableFile(message % names[:200])
    return {name: positions[name] for name in COLUMNS if name in positions}


def _filled(rows: Iterable[Row]) -> Iterator[Row]:
    return ((number, cells) for number, cells in rows if not all(map(_is_blank, cells.values())))


def _is_blank(cell: Cell) -> bool:
    """Return whether the cell shows nothing: white space and invisible characters do not count."""
    return not cell or (isinstance(cell, str) and len(cell) <= LONGEST and not visible(cell))
