"""Consoles (of the library “rich”) for texts that users have entered, such as names and reasons."""

from typing import IO, Any

from rich.console import Console

# Wider than any line: a file or a pipe has no width, and a wrapped line cannot be searched.
UNLIMITED = 10_000


def console(file: IO[str] | None = None, **options: Any) -> Console:
    """Return a console that prints texts as they are: it does not interpret rich's markup and emoji codes.

    It wraps lines only on terminals or at a given ``width``. It writes to ``file``, by default to standard error.
    """
    plain = Console(file=file, stderr=file is None, markup=False, emoji=False, highlight=False, **options)
    if "width" not in options and not plain.is_terminal:
        plain.width = UNLIMITED
    return plain
