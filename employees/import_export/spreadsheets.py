"""Read files of employees as spreadsheets save them: XLSX, and CSV in its usual encodings and delimiters."""

import csv
from io import StringIO
from zipfile import BadZipFile

from django.utils.translation import gettext as _
from tablib import Dataset
from tablib.exceptions import TablibException

# Excel reads a CSV file as UTF-8 only with this mark.
BYTE_ORDER_MARK = "\ufeff"


class UnreadableFile(ValueError):
    """A file that is not a table of employees; the message says why."""


def read_csv(content: bytes) -> Dataset:
    """Read commas or semicolons, in UTF-8 or Windows-1251; raise UnreadableFile. Short rows are filled up."""
    for encoding in ("utf-8-sig", "cp1251"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            break
    else:
        raise UnreadableFile(_("The file is not text in UTF-8 or Windows-1251. Save it as “CSV UTF-8”."))
    header = text.partition("\n")[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","
    try:
        rows = list(csv.reader(StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UnreadableFile(_("The file is not valid CSV: %s") % error) from None
    headers = [name.strip() for name in rows[0]] if rows else []
    table = _checked(Dataset(headers=headers))
    for number, row in enumerate(rows[1:], start=2):
        if any(cell.strip() for cell in row[len(headers) :]):
            numbers = {"row": number, "cells": len(row), "columns": len(headers)}
            text = _("Row %(row)d has %(cells)d cells, but the header has %(columns)d.")
            raise UnreadableFile(text % numbers)
        if row:
            table.append([*row, *[""] * (len(headers) - len(row))][: len(headers)])
    return table


def read_xlsx(content: bytes) -> Dataset:
    try:
        table = Dataset().load(content, format="xlsx")
    except (BadZipFile, TablibException, KeyError, ValueError):
        raise UnreadableFile(_("The file is not an XLSX workbook.")) from None
    return _checked(table)


def _checked(table: Dataset) -> Dataset:
    if "phone" not in (table.headers or ()):
        columns = ", ".join(str(name) for name in table.headers or () if name) or "—"
        raise UnreadableFile(_("The file has no “phone” column. Its columns: %s") % columns[:200])
    return table
