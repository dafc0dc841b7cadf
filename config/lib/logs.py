"""The log: structlog writes each record of the standard library as one line of JSON without personal data."""

import logging
import re
import traceback
from collections.abc import Callable
from datetime import UTC, date, datetime

import psycopg
from django.db import DataError, Error
from structlog.processors import JSONRenderer
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from config.lib import request_id

# The value of "component", by the logger's module.
_COMPONENTS = {
    "webhooks": "webhook_handler",
    "profiles": "profile_cache",
    "profiles.rollout": "rollout",
    "employees": "employee",
}
# No line shows them, and structlog would look them up twice.
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
_PLAIN = (bool, int, float, type(None), logging.LogRecord)
# A query string, and a phone in any spelling except its last two digits.
_PERSONAL = re.compile(r"(?<=[\w/])\?\S+|(?:\+\d[\d ()-]{5,}|(?<![\w.])\d{8,13})(?=\d\d(?!\w))")
_may_be_personal = re.compile(r"[?0-9]").search
# The ids of MAX and of requests may be as long as phones.
_NEVER_PERSONAL = frozenset({"timestamp", "user_id", "request_id"})


def formatter() -> ProcessorFormatter:
    """Return the formatter of LOGGING: the fields of docs/reference/metrics.md and every ``extra`` field."""
    remove_meta, to_json = ProcessorFormatter.remove_processors_meta, JSONRenderer(ensure_ascii=False)
    return ProcessorFormatter(processors=[start_line, ExtraAdder(), mask, remove_meta, to_json])


def start_line(_logger: WrappedLogger, _method: str, record_fields: EventDict) -> EventDict:
    """Return timestamp, level, component, event and message of a record, and the id of its request."""
    record = record_fields["_record"]
    package, _, rest = record.name.partition(".")
    line = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        "level": record.levelname,
        "component": _COMPONENTS.get(f"{package}.{rest.partition('.')[0]}") or _COMPONENTS.get(package, package),
        # Our own lines overwrite it by an extra field.
        "event": record.name,
        # Celery quotes the body of an unknown task below the first line.
        "message": record_fields.pop("event").partition("\n")[0],
    }
    if request := request_id.current.get():
        line["request_id"] = request
    return {**line, **record_fields}


def mask(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Remove personal data from the line; this is the only rule of the log for it.

    The text of an error may quote names and phones: only its class and traceback stay. A structure may be a payload and
    an object may quote one: only the class stays. Query strings are cut, and phones except for the last two digits.
    """
    _, error, _ = line.pop("exc_info", None) or (None, None, None)
    if error is not None:
        for text in (repr(error), str(error)):
            line["message"] = line["message"].replace(text, type(error).__name__) if text else line["message"]
        line["traceback"] = _traceback(error, lambda cause: type(cause).__name__)
    for name, value in line.items():
        if isinstance(value, str):
            if _may_be_personal(value) and name not in _NEVER_PERSONAL:
                line[name] = _PERSONAL.sub("…", value)
        elif not isinstance(value, _PLAIN):
            line[name] = value.isoformat() if isinstance(value, date) else type(value).__name__
    return line


def error_text(error: BaseException) -> str:
    """Return the tracebacks of an error and its causes for a table, each with its ``error_line``."""
    return _traceback(error, error_line)


def error_line(error: BaseException) -> str:
    """Return class and text of an error; of a database error only what quotes no value of the row."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, (Error, psycopg.Error)):
        cause, text = error if isinstance(error, psycopg.Error) else error.__cause__, ""
        if isinstance(cause, psycopg.Error):
            # A DataError quotes the value: “invalid input syntax for type bigint: …”.
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
