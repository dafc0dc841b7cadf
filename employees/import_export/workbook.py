"""Read the cells of an XLSX workbook with bounded memory.

Libraries fill the declared range of a sheet with empty cells, so a file of 1 kB can take gigabytes of memory. Here, the
XML is streamed, only cells with a value are kept, and every size is limited before the memory is used.
"""

import posixpath
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from io import BytesIO
from typing import NamedTuple
from xml.parsers.expat import ExpatError
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from django.utils.translation import gettext as _
from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format
from openpyxl.utils import column_index_from_string
from openpyxl.utils.escape import unescape

from config.lib.xml_stream import MAX_TEXT, Budget, DoctypeError, End, LimitExceeded, Start, stream

# A cell's text; for a cell without a value that can be imported, the error.
Cell = str | ValueError
Row = tuple[int, dict[int, Cell]]

_MAX_UNPACKED = 64 * 1024**2
_MAX_PARTS = 2_000
# Excel's own limits.
_MAX_ROW, _MAX_COLUMN, _MAX_FORMAT = 1_048_576, 16_384, 255
# A format that shows only the digits and what may stand between them. With another format, Excel shows a text that
# differs from the number, such as “+84951234567” or “100%”.
_PLAIN_FORMAT = re.compile(
    # A locale of more than six digits chooses other digits, as DBNum does; a star fills the cell with its character.
    r"(?:General|\[(?!\$|DBNum)[^]]*]|\[\$[^]\d+%-]*(?:-[0-9A-F]{1,6})?]|_.|\*[^\d+%]"
    r'|\\[ ()-]|"[ ()-]*"|[0#?,.;@ ()-])*',
    re.IGNORECASE,
)
_CONDITION, _PLACEHOLDER = re.compile(r"\[[<>=]"), re.compile("general|[0#?@]", re.IGNORECASE)
_NOT_SHOWN = re.compile(r'\[[^]]*]|[_*\\].|"[^"]*"')
# The formats of dates in East Asian versions of Excel, which BUILTIN_FORMATS lacks.
_EAST_ASIAN_DATES = frozenset(map(str, [*range(27, 37), *range(50, 59)]))
# The number of digits that Excel keeps of a number.
_MAX_DIGITS = 15
_MERGED = re.compile(r"[A-Z]{1,3}([0-9]{1,7}):[A-Z]{1,3}([0-9]{1,7})")


class InvalidWorkbook(ValueError):
    """Raised for content that is not a workbook, or is too large; the message gives the reason."""


def _is_readable(info: ZipInfo) -> bool:
    is_encrypted = info.flag_bits & 1
    return info.compress_type in (ZIP_STORED, ZIP_DEFLATED) and not is_encrypted and info.header_offset >= 0


def _ignore(_tag: str, _text: str) -> None:
    pass


class _Relation(NamedTuple):
    kind: str
    id: str
    path: str


def _damaged() -> InvalidWorkbook:
    message = _(
        "The file is not an XLSX workbook. It may be of another kind, damaged or protected with a password: open it in"
        " a spreadsheet and save it as “Excel workbook (.xlsx)” without a password."
    )
    return InvalidWorkbook(message)


def _too_large() -> InvalidWorkbook:
    message = _(
        "The workbook is too large to be read. Copy the filled rows to a new workbook, or save the sheet as CSV UTF-8."
    )
    return InvalidWorkbook(message)


# What a damaged archive or part raises; one cause of ValueError is a file name in no known encoding.
_DAMAGES = (
    *(BadZipFile, EOFError, ExpatError, LookupError, NotImplementedError, OSError, ValueError, struct.error),
    zlib.error,
)


class Workbook:
    """A workbook that is read sheet by sheet and row by row.

    Raise InvalidWorkbook for content that is not a workbook or exceeds the limits. Some errors are found only later,
    while rows are read.
    """

    def __init__(self, content: bytes) -> None:
        # Counted before the archive is opened, which creates an object for each part.
        if content.count(b"PK\x01\x02") > _MAX_PARTS:
            raise _too_large()
        try:
            self._archive = ZipFile(BytesIO(content))
        except _DAMAGES:
            raise _damaged() from None
        infos = self._archive.infolist()
        # Some programs write the names of parts in another case than the references to them.
        self._parts = {info.filename.lower(): info for info in infos}
        is_readable = all(map(_is_readable, infos))
        if len(self._parts) < len(infos) or not is_readable:
            raise _damaged()
        if sum(info.file_size for info in infos) > _MAX_UNPACKED:
            raise _too_large()
        self._budget = Budget()
        main = [relation.path for relation in self._relations("") if relation.kind == "officeDocument"]
        if not main:
            raise _damaged()
        self._relations_of_main = self._relations(main[0])
        self._names = self._sheet_names(main[0])
        self._dates, self._widths = self._styles()
        self._strings = self._shared_strings()

    def sheets(self) -> Iterator[tuple[str, Iterator[Row]]]:
        """Yield the name and the rows of each sheet, including hidden sheets but not chart sheets."""
        for relation in self._relations_of_main:
            if relation.kind == "worksheet" and relation.id in self._names:
                yield self._names[relation.id], self._rows(relation.path)

    def _stream(self, path: str, start: Start, end: End = _ignore) -> Iterator[None]:
        """Parse a file of the workbook chunk by chunk; yield after each chunk, so that the caller can process it."""
        try:
            with self._archive.open(self._parts[path.lower()]) as part:
                yield from stream(part, start, end, self._budget)
        except InvalidWorkbook:
            raise
        except LimitExceeded:
            raise _too_large() from None
        except DoctypeError:
            raise _damaged() from None
        except _DAMAGES as error:
            raise _damaged() from error

    def _parse(self, path: str, start: Start, end: End = _ignore) -> None:
        for _chunk in self._stream(path, start, end):
            pass

    def _relations(self, path: str) -> list[_Relation]:
        folder, name = posixpath.split(path)
        relations = []

        def start(tag: str, attributes: dict[str, str]) -> None:
            if tag == "Relationship" and attributes.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, attributes.get("Target", ""))).lstrip("/")
                kind = attributes.get("Type", "").rpartition("/")[2]
                relations.append(_Relation(kind, attributes.get("Id", ""), target))

        self._parse(posixpath.join(folder, "_rels", f"{name}.rels"), start)
        return relations

    def _sheet_names(self, path: str) -> dict[str, str]:
        """Return the names of the sheets by relationship ID."""
        names = {}

        def start(tag: str, attributes: dict[str, str]) -> None:
            if tag == "sheet":
                ids = [value for key, value in attributes.items() if key.endswith(" id")]
                names[ids[0] if ids else ""] = attributes.get("name", "")

        self._parse(path, start)
        return names

    def _styles(self) -> tuple[frozenset[int], dict[int, int | None]]:
        """Return the indexes of the cell styles for dates and times, and the ``_width`` of other styles by index."""
        codes: dict[str, str] = {str(number): code for number, code in BUILTIN_FORMATS.items()}
        formats: list[str] = []
        is_cell_style = False

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal is_cell_style
            if tag == "cellXfs":
                is_cell_style = True
            elif tag == "numFmt":
                codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")[:_MAX_FORMAT]
            elif tag == "xf" and is_cell_style:
                formats.append(attributes.get("numFmtId", "0"))

        def end(tag: str, _text: str) -> None:
            nonlocal is_cell_style
            is_cell_style = is_cell_style and tag != "cellXfs"

        for relation in self._relations_of_main:
            if relation.kind == "styles":
                self._parse(relation.path, start, end)
        dates = {number for number in set(formats) if number in _EAST_ASIAN_DATES or is_date_format(codes.get(number))}
        widths = {number: _width(codes.get(number, "")) for number in set(formats) - dates}
        indexes = frozenset(index for index, number in enumerate(formats) if number in dates)
        return indexes, {index: widths[number] for index, number in enumerate(formats) if number in widths}

    def _shared_strings(self) -> list[str]:
        strings: list[str] = []
        runs = _Runs()

        def end(tag: str, text: str) -> None:
            runs.end(tag, text)
            if tag == "si":
                strings.append(runs.take())

        for relation in self._relations_of_main:
            if relation.kind == "sharedStrings":
                self._parse(relation.path, runs.start, end)
        return strings

    def _rows(self, path: str) -> Iterator[Row]:
        reader = _SheetReader(self._strings, self._dates, self._widths)
        for _chunk in self._stream(path, reader.start, reader.end):
            yield from reader.finished
            reader.finished.clear()
        if reader.merged:
            message = _("The cells %s are merged. Unmerge them, and enter the value in each cell to which it applies.")
            raise InvalidWorkbook(message % ", ".join(reader.merged[:100]))


class _Runs:
    """Join the parts (runs) of a formatted text, without the phonetic readings of Japanese."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._is_phonetic = False

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._is_phonetic = self._is_phonetic or tag == "rPh"

    def end(self, tag: str, text: str) -> None:
        if tag == "rPh":
            self._is_phonetic = False
        elif tag == "t" and not self._is_phonetic:
            self._texts.append(text)

    def take(self) -> str:
        text: str = unescape("".join(self._texts))
        self._texts.clear()
        if len(text) > MAX_TEXT:
            raise _too_large()
        return text


class _SheetReader:
    """Collect in ``finished`` the rows that have a filled cell; the caller empties the list after each chunk of XML."""

    def __init__(self, strings: list[str], dates: frozenset[int], widths: dict[int, int | None]) -> None:
        self.finished: list[Row] = []
        self.merged: list[str] = []
        self._strings, self._dates, self._widths = strings, dates, widths
        self._row = self._column = self._first = self._last = 0
        self._cells: dict[int, Cell] = {}
        self._attributes: dict[str, str] = {}
        self._runs = _Runs()
        self._value, self._has_formula = "", False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._runs.start(tag, attributes)
        if tag == "row":
            number = _number(attributes["r"], _MAX_ROW) if "r" in attributes else self._row + 1
            if number <= self._row:
                raise _damaged()
            self._row = number
            self._column, self._cells = 0, {}
        elif tag == "c":
            letters = attributes.get("r", "").rstrip("0123456789")
            self._column = _column(letters) if letters else self._column + 1
            self._attributes, self._value, self._has_formula = attributes, "", False
        elif tag == "f":
            self._has_formula = True
        elif tag == "mergeCell":
            self._note_merged(attributes.get("ref", ""))

    def end(self, tag: str, text: str) -> None:
        self._runs.end(tag, text)
        if tag == "v":
            self._value = text
        elif tag == "row" and self._cells:
            self.finished.append((self._row, self._cells))
            self._first, self._last = self._first or self._row, self._row
        elif tag == "c":
            if self._column in self._cells:
                raise _damaged()
            cell = self._read()
            if isinstance(cell, ValueError) or (cell and not cell.isspace()):
                self._cells[self._column] = cell

    def _note_merged(self, reference: str) -> None:
        """Record a range of merged cells below the header, for which the workbook is refused.

        Only the first cell of such a range has a value, so the other cells would be imported as empty.
        """
        rows = _MERGED.fullmatch(reference)
        if rows and int(rows[2]) > self._first > 0 and int(rows[1]) <= self._last:
            self.merged.append(reference)

    def _read(self) -> Cell:
        text, value = self._runs.take(), self._value.strip()
        kind = self._attributes.get("t", "n")
        if kind == "inlineStr":
            return text
        if kind == "str":
            return str(unescape(self._value))
        if self._has_formula and not value:
            return ValueError(_("The formula has no result. Open the file in a spreadsheet and save it again."))
        if not value or kind not in _READERS:
            return value
        return _READERS[kind](self, value)

    def _shared(self, value: str) -> Cell:
        return self._strings[_number(value, len(self._strings) - 1)]

    def _numeric(self, value: str) -> Cell:
        style = _number(self._attributes.get("s", "0"), _MAX_UNPACKED)
        if style in self._dates:
            return ValueError(_("The cell is a date or time. Format the column as text and enter the value again."))
        number, width = _integer(value), self._widths.get(style, 0)
        if width is None or (isinstance(number, str) and len(number.removeprefix("-")) < width):
            return ValueError(
                _(
                    "The cell shows something other than the number stored in it. Format the column as text and enter"
                    " the value again."
                )
            )
        return number


_READERS: dict[str, Callable[[_SheetReader, str], Cell]] = {
    "s": _SheetReader._shared,  # noqa: SLF001
    "n": _SheetReader._numeric,  # noqa: SLF001
    "b": lambda _reader, value: "FALSE" if value == "0" else "TRUE",
}


def _width(code: str) -> int | None:
    """Return the number of digits to which a number format pads a number with zeros.

    Return None if the format may show something other than the number's digits: for example, a comma after the last
    digit divides the number by a thousand. A # to the right of a 0 counts as a 0.
    """
    if not _PLAIN_FORMAT.fullmatch(code):
        return None
    sections = _NOT_SHOWN.sub("", code).split(";")
    width = 0
    for section in sections if _CONDITION.search(code) else sections[:1]:
        whole, _point, decimals = section.partition(".")
        end = re.search("[^0#?]*$", whole)
        if (end and "," in end[0]) or "," in decimals or (code and not _PLACEHOLDER.search(section)):
            return None
        filled = whole[whole.find("0") :] if "0" in whole else ""
        width = max(width, len(re.findall("[0#?]", filled)))
    return width


def _integer(value: str) -> Cell:
    """Return a whole number as text, or a ValueError for a decimal or for more than 15 digits, which Excel rounds."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise _damaged() from None
    if not number.is_finite() or number.adjusted() >= _MAX_DIGITS or number != int(number):
        message = _("“%s” is a number that may have lost digits. Format the column as text and enter the value again.")
        return ValueError(message % value[:50])
    return str(int(number))


def _number(text: str, largest: int) -> int:
    """Parse a whole number from 0 to ``largest``; raise InvalidWorkbook for any other text."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and int(text) <= largest):
        raise _damaged()
    return int(text)


def _column(letters: str) -> int:
    return _number(str(column_index_from_string(letters)), _MAX_COLUMN)
