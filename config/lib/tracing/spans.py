"""OpenTelemetry spans, exported without personal data; config.lib.tracing imports this module when traces are on."""

from __future__ import annotations

import atexit
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.propagate import set_global_textmap
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, TraceFlags, set_span_in_context

from config.lib import request_id

if TYPE_CHECKING:
    from config.lib.tracing import M

# All other attributes are left out: the instrumentations record paths, queries, addresses and headers.
_KEPT = frozenset({
    "celery.retries", "celery.state", "celery.task_name", "db.namespace", "db.operation.name", "db.system.name",
    "error.type", "http.request.method", "http.response.status_code", "http.route", "messaging.batch.message_count",
    "server.address", "server.port", "url.scheme",
})  # fmt: skip
_OWN = "directory."
_DJANGO_AFTER = "django.contrib.sessions.middleware.SessionMiddleware"
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_TABLE = re.compile(r'(?:FROM|INTO|UPDATE|JOIN)\s+"?([a-z_0-9]+)', re.IGNORECASE)
# By default, a span has at most this many links.
_MOST_LINKS = 128
# In seconds. A collector that does not answer delays the end of a process by at most about twice this time.
_LONGEST_EXPORT = 2

_tracer: trace.Tracer
_receipts: trace.Tracer
_sampler: Sampler
_processor: BatchSpanProcessor
_exporter: _Exporter


def trace_id_of(request: str) -> int:
    """Return the trace ID for a request ID: its value if it has 32 hexadecimal digits, otherwise a hash of it."""
    given = int(request, 16) if _TRACE_ID.fullmatch(request) else 0
    return given or int.from_bytes(blake2b(request.encode(), digest_size=16).digest())


def _span_id_of(request: str) -> int:
    return int.from_bytes(blake2b(request.encode(), digest_size=8).digest())


class _RequestIds(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        current = request_id.current.get()
        return trace_id_of(current) if current else super().generate_trace_id()


class _ReceiptIds(_RequestIds):
    """Derive the ID of a request's first span from the request ID, so that later work can refer to the span."""

    def generate_span_id(self) -> int:
        return _span_id_of(request_id.current.get())


class _OwnRoots(Sampler):
    """Drop the spans of statements outside a trace, such as the queries that poll for work every second."""

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, kind: SpanKind | None = None,
        attributes: Any = None, links: Any = None, trace_state: Any = None,
    ) -> SamplingResult:  # fmt: skip
        has_parent = trace.get_current_span(parent_context).get_span_context().is_valid
        if kind in (SpanKind.CLIENT, SpanKind.PRODUCER) and not has_parent:
            return SamplingResult(Decision.DROP)
        return self._inner.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return self._inner.get_description()


class _Apart(TextMapPropagator):
    """Ignore the trace headers of incoming requests, and send none.

    Anyone can send requests with trace headers. Ours would go to MAX, which belongs to another company.
    """

    fields: set[str] = set()

    def extract(self, carrier: Any, context: Context | None = None, getter: Any = None) -> Context:
        return context or Context()

    def inject(self, carrier: Any, context: Context | None = None, setter: Any = None) -> None:
        pass


class _Exporter(OTLPSpanExporter):
    ends_at = math.inf

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if time.monotonic() > self.ends_at:
            return SpanExportResult.FAILURE
        return super().export([_anonymous(span) for span in spans])


def install(process: str) -> None:
    """Trace this process, configured by OpenTelemetry's own variables."""
    global _tracer, _receipts, _sampler, _processor, _exporter  # noqa: PLW0603 (there is one process)
    os.environ.setdefault("OTEL_SERVICE_NAME", f"directory-{process}")
    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", f"{_LONGEST_EXPORT}")
    # OpenTelemetry's own default ignores OTEL_TRACES_SAMPLER_ARG.
    os.environ.setdefault("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    os.environ.setdefault("OTEL_TRACES_SAMPLER_ARG", "1.0")
    # Use the stable names of attributes; by default, the instrumentations use older names.
    os.environ.update(OTEL_SEMCONV_STABILITY_OPT_IN="http,database")
    provider = TracerProvider(id_generator=_RequestIds(), shutdown_on_exit=False)
    provider.sampler = _sampler = _OwnRoots(provider.sampler)
    _exporter = _Exporter()
    _processor = BatchSpanProcessor(_exporter)
    provider.add_span_processor(_processor)
    atexit.register(stop)
    trace.set_tracer_provider(provider)
    set_global_textmap(_Apart())
    _tracer, _receipts = provider.get_tracer("directory"), provider.get_tracer("directory.receipts")
    _receipts.id_generator = _ReceiptIds()  # type: ignore[attr-defined]
    DjangoInstrumentor().instrument(middleware_position=settings.MIDDLEWARE.index(_DJANGO_AFTER))
    for instrumentor in (PsycopgInstrumentor, RedisInstrumentor, CeleryInstrumentor, RequestsInstrumentor):
        instrumentor().instrument()


def stop() -> None:
    _exporter.ends_at = time.monotonic() + _LONGEST_EXPORT
    _processor.shutdown()  # type: ignore[no-untyped-call]


def receipt() -> Any:
    return _receipts.start_as_current_span("receive updates", Context(), SpanKind.SERVER)


def _context_of(request: str) -> SpanContext:
    """Return the span context of the request with this ID, including the sampling decision."""
    number = trace_id_of(request)
    decision = _sampler.should_sample(Context(), number, "", SpanKind.SERVER).decision
    flags = TraceFlags(TraceFlags.SAMPLED if decision == Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT)
    return SpanContext(number, _span_id_of(request), is_remote=True, trace_flags=flags)


@contextmanager
def batch(name: str, messages: Sequence[M], describe: Callable[[M], Mapping[str, Any]]) -> Iterator[None]:
    parents = {message.request_id: _context_of(message.request_id) for message in messages if message.request_id}
    count = {"messaging.batch.message_count": len(messages)}
    if len(parents) == 1:
        (parent,) = parents.values()
        with _tracer.start_as_current_span(name, _under(parent), SpanKind.CONSUMER, attributes=count) as span:
            yield
            for message in messages:
                span.set_attributes(_own(describe(message)))
        return
    sampled = [context for context in parents.values() if context.trace_flags.sampled]
    links = [Link(context) for context in sampled[:_MOST_LINKS]]
    started = time.time_ns()
    with _tracer.start_as_current_span(name, Context(), SpanKind.CONSUMER, attributes=count, links=links) as span:
        yield
    whole = [Link(span.get_span_context())]
    for message in messages:
        receipt_span = parents.get(message.request_id)
        if receipt_span and receipt_span.trace_flags.sampled:
            attributes = _own(describe(message))
            _tracer.start_span(name, _under(receipt_span), SpanKind.CONSUMER, attributes, whole, started).end()


def _under(parent: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _own(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{_OWN}{name}": value for name, value in attributes.items()}


def statement(sql: str) -> Any:
    attributes = {"db.system.name": "postgresql", "db.query.text": sql}
    return _tracer.start_as_current_span(sql.split(maxsplit=1)[0], kind=SpanKind.CLIENT, attributes=attributes)


def redis_commands(names: Sequence[str]) -> Any:
    attributes = {"db.system.name": "redis", "db.query.text": "\n".join(names)}
    return _tracer.start_as_current_span("redis", kind=SpanKind.CLIENT, attributes=attributes)


def continued(name: str) -> Any:
    return _tracer.start_as_current_span(name, Context(), SpanKind.CONSUMER)


def ids() -> dict[str, str]:
    current = trace.get_current_span().get_span_context()
    return {"trace_id": f"{current.trace_id:032x}", "span_id": f"{current.span_id:016x}"} if current.is_valid else {}


def _anonymous(span: ReadableSpan) -> ReadableSpan:
    """Return the span without anything that may be personal data.

    Error messages are removed. So are all attributes except those in _KEPT and our own, which begin with _OWN.
    """
    given = span.attributes or {}
    attributes = {name: value for name, value in given.items() if name in _KEPT or name.startswith(_OWN)}
    if span.kind == SpanKind.SERVER:
        # The client chooses these values, by its Host header.
        attributes = {name: value for name, value in attributes.items() if not name.startswith("server.")}
    events = [
        Event("exception", {"exception.type": event.attributes["exception.type"]}, event.timestamp)
        for event in span.events
        if event.attributes and "exception.type" in event.attributes
    ]
    return ReadableSpan(
        name=_name(span.name, given),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=events,
        links=[Link(link.context) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _name(name: str, attributes: Mapping[str, Any]) -> str:
    """Return a span name that contains no personal data.

    It consists only of SQL and Redis commands, tables of our models, URL routes, and names in our code.
    """
    statement = str(attributes.get("db.query.text") or "")
    if attributes.get("db.system.name") == "postgresql":
        operation = name if name.isalpha() and name.isupper() else "SQL"
        tables = [table for table in _TABLE.findall(statement) if table in _tables()]
        return " ".join([operation, *tables[:1]])
    if attributes.get("db.system.name") == "redis":
        return " ".join(dict.fromkeys(line.partition(" ")[0] for line in statement.split("\n"))) or "redis"
    if "http.route" in attributes:
        return f"{attributes.get('http.request.method', 'HTTP')} /{attributes['http.route']}"
    return name


@cache
def _tables() -> frozenset[str]:
    return frozenset(model._meta.db_table for model in apps.get_models(include_auto_created=True))  # noqa: SLF001 (Django's)
