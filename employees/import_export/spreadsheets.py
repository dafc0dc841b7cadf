"""Files of employees as spreadsheets save them: CSV of any of their encodings and delimiters, XLSX; errors in words."""

from __future__ import annotations

import csv
from io import StringIO
from zipfile import BadZipFile

from django.utils.translation import gettext as _
from tablib import Dataset
from tablib.exceptions import TablibException

# What Excel looks for to read UTF-8 as such.
MARK = "\ufeff"


class Unreadable(ValueError):
    """A file that is no table of employees; says why."""


def read_csv(content: bytes) -> Dataset:
    """Read commas or semicolons, which a Russian Excel writes; Unreadable for what is no table of employees."""
    text = _decoded(content)
    heading = text.partition("\n")[0]
    delimiter = ";" if heading.count(";") > heading.count(",") else ","
    try:
        rows = list(csv.reader(StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise Unreadable(_("the file is no CSV: %s") % error) from None
    return _table(rows)


def _decoded(content: bytes) -> str:
    for encoding in ("utf-8-sig", "cp1251"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise Unreadable(_("the file is no text in UTF-8 or Windows-1251"))


def _table(rows: list[list[str]]) -> Dataset:
    """Fill up short rows, as a spreadsheet leaves their last cells out; refuse what no column is the heading of."""
    headers = [name.strip() for name in rows[0]] if rows else []
    table = _checked(Dataset(headers=headers))
    for number, row in enumerate(rows[1:], start=2):
        if any(cell.strip() for cell in row[len(headers) :]):
            cells = {"row": number, "cells": len(row), "columns": len(headers)}
            raise Unreadable(_("row %(row)d has %(cells)d cells under %(columns)d headings") % cells)
        if row:
            table.append([*row, *[""] * (len(headers) - len(row))][: len(headers)])
    return table


def read_xlsx(content: bytes) -> Dataset:
    try:
        table = Dataset().load(content, format="xlsx")
    except (BadZipFile, TablibException, KeyError, ValueError):
        raise Unreadable(_("the file is no XLSX table")) from None
    return _checked(table)


def _checked(table: Dataset) -> Dataset:
    if "phone" not in (table.headers or ()):
        columns = ", ".join(str(name) for name in table.headers or () if name) or "—"
        raise Unreadable(_("the file has no column “phone”; its columns: %s") % columns[:200])
    return table
