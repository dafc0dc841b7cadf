"""Traces (docs/how-to/traces.md). Unless OTEL_EXPORTER_OTLP_ENDPOINT is set, OpenTelemetry is not imported.

The request ID is enough to find a trace: if it has 32 hexadecimal digits, it is the trace ID, otherwise the trace ID is
a hash of it. The request ID is also stored with the work that a request queues, so that this work joins the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, Protocol, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class Message(Protocol):
    request_id: str


M = TypeVar("M", bound=Message)
_spans: ModuleType | None = None
_OFF = nullcontext()


def start(process: str) -> None:
    """Trace this process from now on, if traces are on; raise ImproperlyConfigured if the packages are missing."""
    global _spans  # noqa: PLW0603 (there is one process)
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT or _spans:
        return
    try:
        from config.lib.tracing import spans  # noqa: PLC0415 (an optional extra)
    except ModuleNotFoundError as error:
        text = f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but {error.name} is not installed: install requirements-otel.txt"
        raise ImproperlyConfigured(text) from None
    spans.install(process)
    _spans = spans


def receipt() -> AbstractContextManager[Any]:
    """Return the span of a request that stores messages, in the trace of the current request ID."""
    return _spans.receipt() if _spans else _OFF


def batch(name: str, messages: Sequence[M], describe: Callable[[M], dict[str, Any]]) -> AbstractContextManager[Any]:
    """Return the span of work on stored messages, in the trace of the request that stored them.

    If several requests stored them, the span has a trace of its own, with links to the traces of the requests. After
    the work, ``describe`` is called for the span attributes of each message; they must not contain personal data.
    """
    return _spans.batch(name, messages, describe) if _spans else _OFF


def statement(sql: str) -> AbstractContextManager[Any]:
    """Return the span of an SQL statement on a cursor that psycopg's instrumentation does not see."""
    return _spans.statement(sql) if _spans else _OFF


def redis_commands(names: Sequence[str]) -> AbstractContextManager[Any]:
    """Return the span of Redis commands that the instrumentation does not see, as they bypass redis-py's methods."""
    return _spans.redis_commands(names) if _spans else _OFF


def continued(name: str) -> AbstractContextManager[Any]:
    """Return a context manager for a span around queued work.

    The span belongs to the trace of the request that queued the work. The ID of that request must be the current
    request ID.
    """
    return _spans.continued(name) if _spans else _OFF


def stop() -> None:
    """Export the remaining spans, for a few seconds at most, and stop tracing."""
    if _spans:
        _spans.stop()


def ids() -> dict[str, str]:
    """Return ``trace_id`` and ``span_id`` of the current span, for log lines; an empty dict outside spans."""
    return _spans.ids() if _spans else {}


def trace_id(request_id: str) -> dict[str, str]:
    """Return the ``trace_id`` of a request, for log lines; an empty dict while traces are off."""
    return {"trace_id": f"{_spans.trace_id_of(request_id):032x}"} if _spans and request_id else {}
