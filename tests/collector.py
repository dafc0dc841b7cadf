"""A collector of OpenTelemetry on loopback, to which processes under test export their spans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.loopback import Answer, Asked, serving


class Span(NamedTuple):
    """A span as it was exported; IDs are hexadecimal, ``parent`` is empty for a first one."""

    service: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: set[str]
    events: list[dict[str, Any]]


@dataclass
class Collector:
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)

    def answer(self, asked: Asked, _authorization: str | None) -> Answer:
        if asked.path == "/v1/traces":
            self.bodies.append(asked.body)
        return Answer(200, b"", {"Content-Type": "application/x-protobuf"})

    def spans(self) -> list[Span]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

        return [
            Span(
                _values(resource.resource.attributes)["service.name"],
                span.name,
                span.kind,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                _values(span.attributes),
                {link.trace_id.hex() for link in span.links},
                [_values(event.attributes) for event in span.events],
            )
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def _values(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    with serving(collector.answer, keeps_alive=True) as server:
        collector.url = server.url
        yield collector
