"""Read a CSV or XLSX file as a table of employees: the known columns and the filled rows, with their row numbers."""

import csv
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain, islice
from typing import NamedTuple

from django.utils.translation import gettext as _
from openpyxl.utils import get_column_letter
from tablib import Dataset

from config.lib import text as texts
from employees.import_export.cells import LONGEST
from employees.import_export.encodings import UndecodableFile, decode
from employees.import_export.headings import COLUMNS, column_of, heading_of, is_example, is_whole_name
from employees.import_export.workbook import Cell, InvalidWorkbook, Row, Workbook
from employees.naming import NAMES
from profiles import phones
from profiles.typed_values import visible

# Holds the number of the row in the file; the names of columns are in lower case.
ROW_NUMBER = "ROW"
# In CSV, a quote at the beginning of a cell, or after spaces there, starts a text that may contain separators and line
# breaks.
_QUOTED = re.compile(r'(?<![^,;\t\r\n]) *+"([^"]*+(?:""[^"]*+)*+)(?:"|\Z)')
_RECORD = re.compile(rf'(?:{_QUOTED.pattern}|[^",;\t\r\n]++|[",;\t])++')
# The first bytes of an archive, such as XLSX or ODS, and of the older format, which also holds files with a password.
_WORKBOOKS = (b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_DELIMITERS = ",;\t"
# A first line that names the delimiter for Excel, which does not show the line as a row. Other programs save it with as
# many delimiters as all rows.
_DELIMITER_LINE = re.compile(rf'("?)sep=([{_DELIMITERS}])\1\2*+[ \t]*+(?:\r\n|[\r\n]|\Z)', re.IGNORECASE)
_BRACKETED = re.compile(r"\([^()]*+\)")
# A delimiter is clear if it finds this many known headings, plus two for each known one that another delimiter would
# find within unknown headings.
_CLEARLY_KNOWN = 2
# A line with at least this many digits may hold a phone.
_FEWEST_DIGITS = 7
_DIGIT, _LINE_BREAKS = re.compile("[0-9]"), re.compile(r"[\r\n]+")
# Words in the headings of columns whose numbers belong to the same person, such as a work phone or an INN.
_OTHER_NUMBERS = re.compile(r"\b(?:тел|моб|факс|инн|кпп|паспорт|снилс|tel|phone|mob|fax|inn|kpp)", re.IGNORECASE)
# The parts of a line, each with the position of its cell.
_Line = list[tuple[int, str]]
# The column that only exports have.
_EXPORTED = "profile_source"
_MOST_INVISIBLE = 100
# Limited, because each heading is compared with those of the known columns.
_MOST_COLUMNS = 1_000
# The number of the column ZZZ.
_LAST_LETTERS = 18_278


class Table(Dataset):
    """The filled rows of a file; the headers are field names, such as ``last_name``.

    ``headings`` holds the headings in the file by field name. ``ignored`` holds the headings of columns that have
    values but are not imported, by column letter. ``errors`` holds the errors of rows whose cells do not fit the
    header, by row number.
    """

    def __init__(self, headers: list[str]) -> None:
        super().__init__(headers=headers)
        self.headings: dict[str, str] = {}
        self.ignored: dict[str, str] = {}
        self.errors: dict[int, str] = {}


class UnreadableFile(ValueError):
    """Raised for a file that is not a table of employees; the message gives the reason."""


def read(content: bytes, *, max_rows: int | None = None) -> Table:
    """Read a workbook or a CSV file, depending on its content; raise UnreadableFile for other content."""
    return (read_xlsx if content.startswith(_WORKBOOKS) else read_csv)(content, max_rows=max_rows)


def read_csv(content: bytes, *, max_rows: int | None = None) -> Table:
    """Read CSV with commas, semicolons or tabs, in UTF-8, UTF-16 or Windows-1251; otherwise raise UnreadableFile."""
    try:
        return _table(_csv_rows(decode(content)), max_rows)
    except UndecodableFile as error:
        raise UnreadableFile(str(error)) from None


def _csv_rows(text: str) -> Iterator[Row]:
    """Yield the number of each filled row and its cells by column number; raise UnreadableFile for invalid CSV.

    Column numbers begin at 1. If a quotation mark of the row seems not to be closed, or the row has a filled cell
    beyond the last heading, key 0 holds a ValueError with the reason.
    """
    named = _DELIMITER_LINE.match(text)
    delimiter = named[2] if named else _delimiter(text)
    reader = _reader(text[named.end() if named else 0 :], delimiter)
    header: list[str] = []
    # The line with the delimiter is a row of the file as well.
    first = 2 if named else 1
    number = first - 1
    try:
        for number, row in enumerate(reader, start=first):
            cells: dict[int, Cell] = {column: cell for column, cell in enumerate(row, start=1) if not _is_blank(cell)}
            if not cells:
                continue
            if not header:
                header, quotes = row, _OpenQuotes(row, delimiter)
                if error := quotes.error_of(row):
                    message = _("Row %(row)s: %(error)s")
                    raise UnreadableFile(message % {"row": number, "error": error})
            elif error := quotes.error_of(row) or _too_long(max(cells), len(header)):
                cells[0] = ValueError(error)
            yield number, cells
    except csv.Error as error:
        # The messages of Python are in English.
        reason = _("a quotation mark is missing, or is not doubled within a cell.")
        if "limit" in str(error):
            reason = _("a cell is too long: probably a quotation mark is not closed.")
        message = _("Row %(row)d: the file is not valid CSV: %(error)s")
        raise UnreadableFile(message % {"row": number + 1, "error": reason}) from None


def _reader(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)


class _OpenQuotes:
    """Detect an unclosed quotation mark, which turns the rows after it into lines of a single cell.

    A cell may also contain notes with several lines. A line that may be either a row or a note counts as a row.
    """

    def __init__(self, header: list[str], delimiter: str) -> None:
        self._header, self._delimiter = header, delimiter
        self._columns = [column_of(visible(heading[:LONGEST])) or "" for heading in header[:_MOST_COLUMNS]]
        self._phone = self._columns.index("phone") if "phone" in self._columns else len(header)

    def error_of(self, row: list[str]) -> str:
        """Return an error if an unclosed quotation mark seems to have swallowed other rows; otherwise ``""``.

        This is so if two lines of the row have a phone in the phone's column, or one line is a complete row.
        """
        if not any("\n" in cell or "\r" in cell for cell in row):
            return ""
        lines = self._lines(row)
        is_header = row is self._header
        found = self._has_phone(next(lines)) or is_header
        for line in lines:
            position = line[0][0]
            own = [part for at, part in line if at == position]
            # A heading or an address of two lines may have many delimiters, but hardly as many digits as a phone.
            needs_digits = self._delimiter == "," or is_header
            is_whole = len(own) >= len(self._header) and (not needs_digits or _may_have_phone("".join(own)))
            if not (is_whole or self._has_phone(line)) or (not is_header and self._is_note(line, len(own))):
                continue
            if is_whole or found:
                message = _(
                    "A quotation mark in the column “%s” seems not to be closed. Close it; if it is closed, remove the"
                    " line breaks from the cell."
                )
                return message % texts.clean("".join(self._header[position].splitlines()[:1])[:LONGEST])[:50]
            found = True
        return ""

    def _lines(self, row: list[str]) -> Iterator[_Line]:
        """Yield the lines of the row as if it had no quotation marks; each line is split at the delimiter.

        A cell in a column of other numbers, such as work phones or INNs, becomes empty if it has only one line, so that
        its digits are not mistaken for a phone.
        """
        line: _Line = []
        for position, cell in enumerate(row[: len(self._columns)]):
            first, *others = _LINE_BREAKS.split(cell if self._delimiter in cell else cell.rstrip("\r\n"))
            is_other = position != self._phone and _OTHER_NUMBERS.search(self._header[position][:LONGEST])
            parts = first.split(self._delimiter) if others else ["" if is_other else cell]
            line += [(position, part) for part in parts]
            for other in others:
                yield line
                line = [(position, part) for part in other.split(self._delimiter)]
        yield line

    def _has_phone(self, line: _Line) -> bool:
        position, part = line[self._phone] if len(line) > self._phone else (0, "")
        try:
            # A name hardly has as many digits as a phone, even if they are no valid phone.
            return _may_have_phone(part) and (
                self._columns[position] in NAMES or bool(phones.normalize(part[:LONGEST]))
            )
        except ValueError:
            return False

    def _is_note(self, line: _Line, own: int) -> bool:
        """Return whether a line inside a multi-line cell is a note rather than a swallowed row.

        A note is a phone and nothing else, or has text in the phone's column or digits in a name's column. A line that
        begins in a name's cell is no note. ``own`` is the number of the line's parts that belong to its first cell.
        """
        if self._columns[line[0][0]].endswith("name"):
            return False
        cells = [part for _position, part in line]
        phone = cells[self._phone] if len(cells) > self._phone else ""
        named = (cell for name, cell in zip(self._columns, cells, strict=False) if name in NAMES)
        has_none = texts.is_visible(phone) and not _may_have_phone(phone)
        return has_none or (own == 1 and self._phone == 0) or any(map(_DIGIT.search, named))


def _too_long(cells: int, columns: int) -> str:
    message = _("The row has %(cells)d cells, but the header has %(columns)d.")
    return message % {"cells": cells, "columns": columns} if cells > columns else ""


def _may_have_phone(line: str) -> bool:
    return sum(map(str.isdigit, line)) >= _FEWEST_DIGITS


def _delimiter(text: str) -> str:
    """Return the delimiter of the header, the first row that is not blank; raise UnreadableFile if it is ambiguous."""
    for record in _RECORD.finditer(text):
        unquoted = _QUOTED.sub(lambda quoted: "" if _is_blank(quoted[1]) else "x", record[0])
        if not _is_blank(unquoted.strip(_DELIMITERS)):
            return _delimiter_of(record[0], unquoted, text[record.end() :])
    return _DELIMITERS[0]


def _delimiter_of(record: str, unquoted: str, rows: str) -> str:
    """Return the delimiter that suits the header best; raise UnreadableFile if another delimiter may be meant.

    The criteria are, from the most to the least important: the delimiter splits the header into the most known
    headings; one of them is the phone's heading; the rows contain the delimiter; the fewest headings are combined, such
    as “Phone;personal”; the headings contain the other delimiters least often.
    """
    ranks = {one: _known_headings(record, one) for one in _DELIMITERS}
    most = max(rank[:2] for rank in ranks.values())
    likely = [one for one in _DELIMITERS if ranks[one][:2] == most]
    if len(likely) > 1:
        used = _QUOTED.sub("", rows)
        # A delimiter that no row contains separates nothing.
        likely = [one for one in likely if one in used] or likely
    best = max(likely, key=lambda one: (ranks[one].whole, -_mixed(unquoted, one), unquoted.count(one)))
    # A file without phones is refused in any case.
    if ranks[best].has_phone:
        _refuse_others(best, likely, ranks, unquoted, rows)
    return best


class _Rank(NamedTuple):
    """How well a delimiter suits the header.

    ``known`` is the number of known headings, ``has_phone`` whether the phone's heading is one of them, and ``whole``
    how many of them are not combined headings, such as “Phone;personal”.
    """

    known: int
    has_phone: bool
    whole: int


def _known_headings(record: str, delimiter: str) -> _Rank:
    """Return how well the delimiter suits the header; the lowest rank if the header's quotation marks are broken."""
    try:
        cells = next(_reader(record, delimiter), [])
    except csv.Error:
        return _Rank(0, False, 0)
    headings = [visible(cell[:LONGEST]) for cell in cells[:_MOST_COLUMNS]]
    known = list(filter(_is_known, headings))
    return _Rank(len(known), "phone" in map(column_of, known), sum(not _is_known_in_part(one) for one in known))


def _is_known(heading: str) -> bool:
    return column_of(heading) is not None or is_whole_name(heading)


def _is_known_in_part(heading: str) -> bool:
    """Return whether the heading contains a delimiter and denotes the same column as one of its parts.

    For example, “Phone;personal” denotes the same column as “Phone”.
    """
    parts = re.split(f"[{_DELIMITERS}]", heading)
    return len(parts) > 1 and column_of(heading) in map(column_of, filter(None, parts))


def _headings_with(other: str, unquoted: str, delimiter: str) -> list[str]:
    """Return the headings that contain the ``other`` delimiter outside quotation marks.

    Only the first columns are checked, and only the beginning of long headings. A tab before or after a heading is
    white space, not a delimiter.
    """
    cells = (cell[:LONGEST].strip() for cell in unquoted.split(delimiter, _MOST_COLUMNS)[:_MOST_COLUMNS])
    return [cell for cell in cells if other in cell]


def _mixed(unquoted: str, delimiter: str) -> int:
    """Return how many headings contain another delimiter outside quotation marks; count those with two others twice."""
    return sum(len(_headings_with(other, unquoted, delimiter)) for other in _DELIMITERS.replace(delimiter, ""))


def _refuse_others(delimiter: str, likely: list[str], ranks: dict[str, _Rank], unquoted: str, rows: str) -> None:
    """Raise UnreadableFile if another delimiter, which occurs unquoted in a heading and in the rows, may be meant.

    It may be meant if it is ``likely``, that is, suits the header as well as the chosen delimiter. A semicolon or a tab
    in a known heading may be meant, because no known heading is written with them. A comma in a known heading, such as
    “Phone, personal”, is common and accepted. Any delimiter in an unknown heading, such as “Position, department”, may
    be meant if too few headings are known to be sure.
    """
    known = ranks[delimiter].known
    for other in _DELIMITERS.replace(delimiter, ""):
        headings = _headings_with(other, unquoted, delimiter)
        unknown = [heading for heading in headings if not _is_known(visible(heading))]
        # Not all of them: a thousand headings may have half a million parts.
        parts = islice((visible(part) for heading in unknown for part in heading.split(other)), _MOST_COLUMNS)
        known_parts = sum(map(_is_known, parts))
        is_refused = other == "," and not ranks[other].has_phone
        if is_refused and _is_mere_comma(headings, known, max(known_parts, ranks[other].known)):
            continue
        is_accident = known >= _CLEARLY_KNOWN + 2 * known_parts
        is_unclear = other in likely or (other != "," and len(unknown) < len(headings))
        doubtful = headings if is_unclear else [] if is_accident else unknown
        if doubtful and other in _QUOTED.sub("", rows):
            raise _unclear(delimiter, other, _parted_by_comma(delimiter, other, unquoted) or doubtful)


def _is_mere_comma(headings: list[str], known: int, known_by_comma: int) -> bool:
    """Return whether the commas in these headings are punctuation rather than delimiters.

    This is so if every comma is in brackets, or if the chosen delimiter finds at least two known headings (``known``)
    and more than twice as many as the comma (``known_by_comma``).
    """
    is_bracketed = not any("," in _BRACKETED.sub("", heading) for heading in headings)
    return is_bracketed or _CLEARLY_KNOWN <= known > 2 * known_by_comma


def _parted_by_comma(delimiter: str, other: str, unquoted: str) -> list[str]:
    """Return the headings that would contain a comma if the header were split at ``other``.

    Return ``[]`` if the chosen ``delimiter`` is no comma, or if ``other`` is only at the header's ends, separating
    nothing. The error names these headings, because a heading contains a comma more often than a semicolon or a tab.
    """
    is_within = delimiter == "," and other in unquoted.strip(f"{other} \r\n")
    return _headings_with(delimiter, unquoted, other) if is_within else []


def _unclear(delimiter: str, other: str, headings: list[str]) -> UnreadableFile:
    message = _(
        "It is unclear whether “%(one)s” or “%(other)s” separates the columns. Put the headings that contain"
        " such a character in quotation marks, or rename them: %(headings)s"
    )
    names = {"one": delimiter.replace("\t", _("tab")), "other": other.replace("\t", _("tab"))}
    listed = ", ".join(_("“%s”") % texts.clean(heading) for heading in headings)[:200]
    return UnreadableFile(message % (names | {"headings": listed}))


def read_xlsx(content: bytes, *, max_rows: int | None = None) -> Table:
    """Read the only filled sheet of a workbook; raise UnreadableFile for several filled sheets or an invalid file."""
    try:
        filled = ((name, _filled(rows)) for name, rows in Workbook(content).sheets())
        sheets = [(name, first, rows) for name, rows in filled if (first := next(rows, None))]
        if len(sheets) > 1:
            names = ", ".join(_("“%s”") % texts.clean(name)[:50] for name, _first, _rows in sheets[:10])
            message = _("Several sheets are filled: %s. Keep one sheet with all people, and delete the others.")
            raise UnreadableFile(message % names)
        return _table((row for _name, first, rows in sheets for row in chain([first], rows)), max_rows)
    except InvalidWorkbook as error:
        raise UnreadableFile(str(error)) from None


def _table(rows: Iterable[Row], max_rows: int | None) -> Table:
    rows = iter(rows)
    _number, cells = next(rows, (1, {}))
    if len(cells) > _MOST_COLUMNS:
        message = _("The file has more than %d columns. Delete those that are not needed.")
        raise UnreadableFile(message % _MOST_COLUMNS)
    headings = {column: visible(str(cell)[:LONGEST]) for column, cell in cells.items()}
    columns = _columns(headings)
    read = {*columns.values(), *(column for column, text in headings.items() if text.casefold() == _EXPORTED)}
    table, ignored = Table([ROW_NUMBER, *columns]), set[int]()
    for number, cells in rows:
        if max_rows is not None and len(table) >= max_rows:
            raise UnreadableFile(_("The file has more than %d rows. Split it into several files.") % max_rows)
        values = {name: cells.get(column, "") for name, column in columns.items()}
        if is_example(values):
            continue
        table.append([number, *values.values()])
        if 0 in cells:
            table.errors[number] = str(cells[0])
        else:
            ignored.update(column for column in cells.keys() - read if not _is_blank(cells[column]))
    table.headings = {name: headings[column] for name, column in columns.items()}
    table.ignored = {_letter(column): headings.get(column, "")[:50] for column in sorted(ignored)}
    return table


def _letter(column: int) -> str:
    """Return the letters of a column; for a column beyond ZZZ, which only CSV can have, its number."""
    return get_column_letter(column) if column <= _LAST_LETTERS else str(column)


def _columns(headings: dict[int, str]) -> dict[str, int]:
    """Return the numbers of the known columns by name; raise UnreadableFile with all errors in the headings."""
    positions: dict[str, int] = {}
    problems = []
    for column, heading in headings.items():
        name = column_of(heading) or heading.casefold()
        first = positions.setdefault(name, column)
        if heading and first != column:
            letters = {"first": _letter(first), "second": _letter(column)}
            same = {"heading": heading[:50], "other": headings[first][:50], **letters}
            if headings[first].casefold() == heading.casefold():
                text = _("The heading “%(heading)s” is repeated in columns %(first)s and %(second)s. Keep one of them.")
            else:
                text = _(
                    "The headings “%(other)s” and “%(heading)s” in columns %(first)s and %(second)s mean the same."
                    " Keep one of them."
                )
            problems.append(text % same)
    if not {"last_name", "first_name"} & positions.keys():
        text = _("The column %(letter)s “%(heading)s” contains full names. Split it into the columns %(columns)s.")
        names = ", ".join(map(heading_of, ("last_name", "first_name", "middle_name")))
        problems += [
            text % {"letter": _letter(column), "heading": heading[:50], "columns": names}
            for column, heading in headings.items()
            if is_whole_name(heading)
        ]
    if "phone" not in positions:
        listed = ", ".join(filter(None, headings.values())) or "—"
        text = _(
            "The file has no “%(phone)s” column. Its columns: %(columns)s. The first row that is not empty must "
            "contain the headings: delete everything above it."
        )
        problems.append(text % {"phone": heading_of("phone"), "columns": listed[:200]})
    if problems:
        raise UnreadableFile(" ".join(problems))
    return {name: positions[name] for name in COLUMNS if name in positions}


def _filled(rows: Iterable[Row]) -> Iterator[Row]:
    return ((number, cells) for number, cells in rows if not all(map(_is_blank, cells.values())))


def _is_blank(cell: Cell) -> bool:
    """Return whether the cell shows nothing: it is empty, white space, or up to _MOST_INVISIBLE invisible characters.

    The limit saves time, because a small workbook may repeat a long text in a million cells.
    """
    return not cell or (
        isinstance(cell, str) and (cell.isspace() or (len(cell) <= _MOST_INVISIBLE and texts.is_blank(cell)))
    )
