"""Count requests in django-prometheus's metrics. Whatever clients send, the number of label values is limited."""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django_prometheus.middleware import Metrics

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
# Any client can cause these statuses in any view with any method.
_REFUSALS = frozenset({401, 403, 404, 405})
_LOG_IN = ("account_", "mfa_", "openid_connect_")
_ADMIN_PAGES = frozenset({"add", "change", "changelist", "delete", "export", "history", "import", "index", "login"})


class RequestMetricsMiddleware:
    """Count each request when its response is ready, and measure the latency including all other middleware.

    django-prometheus's own middleware updates fifteen metrics, at three times the cost, and accepts any word as a
    method.
    """

    metrics_cls = Metrics

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.metrics = self.metrics_cls.get_instance()
        # Cached, because finding a metric by its labels takes longer than incrementing it.
        self.children = lru_cache(maxsize=4096)(self._children)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        response = self.get_response(request)
        method = request.method if request.method in _METHODS else "<other>"
        is_refused = response.status_code in _REFUSALS or method == "<other>"
        view = "<refused>" if is_refused else _view_of(request)
        responses, latency = self.children(view, method, response.status_code)
        responses.inc()
        latency.observe(time.perf_counter() - started)
        self.metrics.requests_total.inc()
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Count an unhandled exception by its class and by its view."""
        self.metrics.exceptions_by_type.labels(type(exception).__name__).inc()
        self.metrics.exceptions_by_view.labels(_view_of(request)).inc()

    def _children(self, view: str, method: str, status: int) -> tuple[Any, Any]:
        return (
            self.metrics.responses_by_status_view_method.labels(status=str(status), view=view, method=method),
            self.metrics.requests_latency_by_view_method.labels(view=view, method=method),
        )


def _view_of(request: HttpRequest) -> str:
    """Return the label of the view: the name of its URL, or a label that similar pages share.

    An admin page has the label of its kind, such as ``admin:changelist``, whatever its model. The log-in pages share
    one label, and the pages that change the rollout share another.
    """
    match = request.resolver_match
    if match is None:
        return "<none>"
    if match.namespaces == ["admin"]:
        page = (match.url_name or "").rpartition("_")[2]
        return f"admin:{page if page in _ADMIN_PAGES else 'other'}"
    if match.view_name.startswith(_LOG_IN):
        return "<log-in>"
    return "screens:<change>" if match.route.startswith("admin/steer/") else match.view_name
