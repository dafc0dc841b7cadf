"""django-prometheus's metrics of requests and of the database, bounded whatever arrives."""

import random
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import ResolverMatch, URLResolver, get_resolver
from django_prometheus.middleware import Metrics
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from config.request_metrics import RequestMetricsMiddleware
from tests.webhooks.sending import send

LATENCY = "django_http_requests_latency_seconds_by_view_method"
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "X1", "X2")


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def series() -> set[str]:
    samples = (sample for family in REGISTRY.collect() for sample in family.samples)
    return {f"{one.name}{one.labels}" for one in samples if one.name.startswith("django_http")}


def test_it_works(client: Client) -> None:
    labels = {"view": "monitoring.api.views.health", "method": "GET"}
    names = [
        (f"{LATENCY}_count", labels),
        ("django_http_responses_total_by_status_view_method_total", labels | {"status": "200"}),
    ]
    before = [value(name, **of) for name, of in names]
    client.get("/health/")
    assert [value(name, **of) for name, of in names] == [count + 1 for count in before]


@pytest.mark.django_db
def test_a_statement_is_counted_once() -> None:
    labels = {"alias": "default", "vendor": "postgresql"}
    names = ("django_db_execute_total", "django_db_query_duration_seconds_count")
    before = [value(name, **labels) for name in names]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert [value(name, **labels) for name in names] == [count + 1 for count in before]


@pytest.mark.long
@pytest.mark.django_db
def test_methods_and_paths_that_nobody_foresaw_share_a_label(client: Client) -> None:
    for verb in VERBS:
        client.generic(verb, "/health")
        client.generic(verb, "/nothing")
        client.generic(verb, "/admin/nothing")
        client.generic(verb, "/employees")
    before = series()
    dice = random.Random(7)
    for _ in range(50):
        verb, path = (f"{dice.getrandbits(64):x}" for _ in range(2))
        for target in (f"/{path}", f"/admin/{path}", "/health", "/employees", f"/employees/{path}"):
            client.generic(verb.upper(), target)
            client.get(f"/{path}")
    assert series() - before == set()
    counted = {"view": "<refused>", "method": "<other>"}
    assert value("django_http_responses_total_by_status_view_method_total", status="401", **counted) >= 50


@pytest.mark.django_db(transaction=True)
def test_the_webhook_does_not_pay_for_it() -> None:
    before = value("django_http_requests_before_middlewares_total"), value("django_db_execute_total")
    assert send({"update_type": "bot_started", "timestamp": 1, "chat_id": 7, "user": {"user_id": 7}}).status == 200
    assert (value("django_http_requests_before_middlewares_total"), value("django_db_execute_total")) == before


def views(resolver: URLResolver, namespaces: tuple[str, ...] = (), prefix: str = "") -> Iterator[ResolverMatch]:
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern).removeprefix("^/")
        if isinstance(pattern, URLResolver):
            yield from views(pattern, (*namespaces, *([pattern.namespace] if pattern.namespace else [])), route)
        else:
            yield ResolverMatch(pattern.callback, (), {}, pattern.name, namespaces=[*namespaces], route=route)


def verbs(view: Callable[..., Any]) -> set[str]:
    """Return what a view may take: of the API what it says, of the others what browsers send."""
    kind = getattr(view, "cls", None) or getattr(view, "view_class", None)
    handlers = getattr(view, "actions", None) or {verb for verb in VERBS if hasattr(kind, verb.lower())}
    return {verb.upper() for verb in handlers} - {"HEAD", "OPTIONS"} or {"GET", "POST"}


def test_all_that_may_come_stays_far_under_256_kb() -> None:
    registry = CollectorRegistry()

    class OwnMetrics(Metrics):  # type: ignore[misc]
        _instance: ClassVar[Any] = None

        def register_metric(self, *args: Any, **kwargs: Any) -> Any:
            return super().register_metric(*args, **kwargs, registry=registry)

    class OwnMiddleware(RequestMetricsMiddleware):
        metrics_cls = OwnMetrics

    response = HttpResponse()
    middleware, factory = OwnMiddleware(lambda request: response), RequestFactory()
    for match in views(get_resolver()):
        for verb in VERBS:
            refusals = (200, 401) if verb in ("HEAD", "OPTIONS") else (401, 403, 404, 405)
            for status in (200, 302, 400, 401, 403, 404, 409, 500) if verb in verbs(match.func) else refusals:
                request = factory.generic(verb, "/")
                request.resolver_match = match
                response.status_code = status
                middleware(request)
    assert len(generate_latest(registry)) < 220_000
