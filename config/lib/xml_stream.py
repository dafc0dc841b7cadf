"""Parse XML in steps and with bounded memory: no tree is built, and every size is limited."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO
from xml.parsers import expat

# Called with the local name of an element, and with its attributes or, at its end, its text.
Start = Callable[[str, dict[str, str]], object]
End = Callable[[str, str], object]

# The longest text of an element: Excel's limit for a cell.
MAX_TEXT = 32_767
_MAX_DEPTH = 50
# In bytes: longer than a start tag with all its attributes, or a long comment.
_MAX_TOKEN = 1024**2
_CHUNK = 64 * 1024


class LimitExceeded(ValueError):
    pass


class DoctypeError(ValueError):
    """Raised for a document with a document type declaration: its entities could expand to gigabytes of text."""


@dataclass
class Budget:
    """The number of elements that may still be parsed: at first two million, which take several seconds."""

    elements: int = 2_000_000


class _Handler:
    def __init__(self, start: Start, end: End, budget: Budget) -> None:
        self._start, self._end, self._budget = start, end, budget
        self._depth = self._length = 0
        self._texts: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._budget.elements -= 1
        if self._depth > _MAX_DEPTH or self._budget.elements < 0:
            raise LimitExceeded
        self._clear()
        self._start(name.rpartition(" ")[2], attributes)

    def text(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_TEXT:
            raise LimitExceeded
        self._texts.append(text)

    def end(self, name: str) -> None:
        self._depth -= 1
        self._end(name.rpartition(" ")[2], "".join(self._texts))
        self._clear()

    def doctype(self, *_arguments: object) -> None:
        raise DoctypeError

    def _clear(self) -> None:
        self._texts.clear()
        self._length = 0


def stream(file: IO[bytes], start: Start, end: End, budget: Budget) -> Iterator[None]:
    """Parse the file in chunks: call ``start`` and ``end`` for each element, and yield after each chunk.

    After each chunk, the caller can process what ``start`` and ``end`` have collected. ``end`` receives the text since
    the previous tag. Raise LimitExceeded, DoctypeError or ExpatError.
    """
    handler = _Handler(start, end, budget)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = handler.start, handler.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = handler.text, handler.doctype
    position = 0
    while chunk := file.read(_CHUNK):
        position += len(chunk)
        parser.Parse(chunk)
        if position - parser.CurrentByteIndex > _MAX_TOKEN:
            raise LimitExceeded
        yield
    parser.Parse(b"", True)
    yield
