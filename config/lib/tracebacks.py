"""What is kept of an error: PostgreSQL quotes the row that it refuses in the detail, and with it names and phones."""

from __future__ import annotations

import traceback

import psycopg
from django.db import DataError, Error


def line_of(error: BaseException) -> str:
    """Return class and text of an error in a line; of the database's, what names no value."""
    name, told = type(error).__name__, _told(error)
    return f"{name}: {told}" if told else name


def text_of(error: BaseException) -> str:
    """Return the traceback of an error and of those that led to it, each with its own line."""
    parts = []
    link: BaseException | None = error
    while link is not None:
        parts.append("".join(traceback.format_tb(link.__traceback__)) + line_of(link))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n\nled to\n\n".join(reversed(parts))


def _told(error: BaseException) -> str:
    if not isinstance(error, (Error, psycopg.Error)):
        return str(error)
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(cause, psycopg.Error):
        return ""
    # What is wrong with a value is told with the value: “invalid input syntax for type bigint: …”.
    is_about_value = isinstance(error, (DataError, psycopg.DataError))
    words = [cause.sqlstate, None if is_about_value else cause.diag.message_primary]
    return " ".join(word for word in words if word)
