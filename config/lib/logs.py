"""Logging: structlog writes each record of the standard library's loggers as one JSON line without personal data."""

import json
import logging
import re
import traceback
from collections.abc import Callable, MutableMapping
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from django.db import DataError, Error
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from config.lib import request_id, tracing
from config.lib.phone_masks import mask_phones

# The value of "component" for the loggers of each package.
_COMPONENTS = {
    "webhooks": "webhook_handler",
    "profiles": "profile_cache",
    "profiles.rollout": "rollout",
    "employees": "employee",
}
# No log line shows these fields, and structlog would collect them twice.
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
_encode = json.JSONEncoder(ensure_ascii=False).encode
_PLAIN = (bool, int, float, type(None), logging.LogRecord)
_QUERY_STRING = re.compile(r"(?<=[\w/])\?\S+")
_may_be_personal = re.compile(r"[?\d]").search
# Not masked, although MAX ids and request ids may have as many digits as a phone number.
_NEVER_PERSONAL = frozenset({"timestamp", "user_id", "request_id", "trace_id", "span_id"})


def formatter() -> ProcessorFormatter:
    """Return the formatter for LOGGING; it writes the fields of docs/reference/metrics.md and all ``extra`` fields."""
    remove_meta = ProcessorFormatter.remove_processors_meta
    return ProcessorFormatter(processors=[start_line, ExtraAdder(), mask, remove_meta, to_json])


def start_line(_logger: WrappedLogger, _method: str, record_fields: EventDict) -> EventDict:
    """Return a record's fields, preceded by its timestamp, level, component, event, message and any request id."""
    record = record_fields["_record"]
    package, _, rest = record.name.partition(".")
    line = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        "level": record.levelname,
        "component": _COMPONENTS.get(f"{package}.{rest.partition('.')[0]}") or _COMPONENTS.get(package, package),
        # The project's own log calls overwrite this with an ``extra`` field.
        "event": record.name,
        # Only the first line: Celery quotes the body of an unknown task in the following lines.
        "message": record_fields.pop("event").partition("\n")[0],
    }
    if request := request_id.current.get():
        line["request_id"] = request
    return {**line, **tracing.ids(), **record_fields}


def mask(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Remove personal data from a log line; no other code masks log lines.

    An error is logged with its class and traceback but without its text, which may quote names and phones. Structures
    and objects are replaced by the name of their class, because they may contain a payload. Query strings, and all
    digits of a phone but the last two, are replaced by “…”.
    """
    _, error, _ = line.pop("exc_info", None) or (None, None, None)
    if error is not None:
        for text in (repr(error), str(error)):
            line["message"] = line["message"].replace(text, type(error).__name__) if text else line["message"]
        line["traceback"] = _traceback(error, lambda cause: type(cause).__name__)
    lines = line.pop("line_each", None)
    for fields in (line, *(lines or ())):
        _mask_values(fields)
    return line if lines is None else {**line, "line_each": lines}


def _mask_values(fields: MutableMapping[str, Any]) -> None:
    for name, value in fields.items():
        if isinstance(value, str):
            if _may_be_personal(value) and name not in _NEVER_PERSONAL:
                fields[name] = mask_phones(_QUERY_STRING.sub("…", value))
        elif not isinstance(value, _PLAIN):
            fields[name] = value.isoformat() if isinstance(value, date) else type(value).__name__


def to_json(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    """Return a line of JSON, or a line for each dict in the extra field ``line_each``.

    A log call for each line would cost five times as much.
    """
    lines = line.pop("line_each", [{}])
    return "\n".join(_encode({**line, **fields}) for fields in lines)


def error_text(error: BaseException) -> str:
    """Return the tracebacks of an error and its causes, each with its ``error_line``, for storage in a table."""
    return _traceback(error, error_line)


def error_line(error: BaseException) -> str:
    """Return the class and text of an error; for a database error, only the parts that quote no values."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, (Error, psycopg.Error)):
        cause, text = error if isinstance(error, psycopg.Error) else error.__cause__, ""
        if isinstance(cause, psycopg.Error):
            # The message of a DataError quotes the value: “invalid input syntax for type bigint: …”.
            primary = None if isinstance(error, (DataError, psycopg.DataError)) else cause.diag.message_primary
            text = " ".join(part for part in (cause.sqlstate, primary) if part)
    return f"{name}: {text}" if text else name


def _traceback(error: BaseException, last_line: Callable[[BaseException], str]) -> str:
    parts = list[str]()
    cause: BaseException | None = error
    while cause is not None:
        parts.append("".join(traceback.format_tb(cause.__traceback__)) + last_line(cause))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n\nled to\n\n".join(reversed(parts))
