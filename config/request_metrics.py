"""Counts requests by django-prometheus, under labels that neither a client nor the number of tables can multiply."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django_prometheus.middleware import PrometheusAfterMiddleware

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
# Anybody can have them of any view by any method.
_REFUSALS = frozenset({401, 403, 404, 405})
_ADMIN_PAGES = frozenset({"add", "change", "changelist", "delete", "export", "history", "import", "index", "login"})


class RequestMetricsMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]
    """Labels a request when its response is known; the library would take any word as a method."""

    def process_view(self, request: HttpRequest, *_view: Any) -> None:
        """Leave the view to ``process_response``, which knows whether it took the request."""

    def process_template_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Count no templates: the admin looks for each page in several, by the table's name."""
        return response

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        by_view = self.metrics.requests_by_view_transport_method
        self.label_metric(
            by_view,
            request,
            response,
            view=self._get_view_name(request),
            transport=self._transport(request),
            method=request.method or "",
        ).inc()
        counted: HttpResponse = super().process_response(request, response)
        return counted

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Count the error by its class and its view; the library would observe the latency twice."""
        self.metrics.exceptions_by_type.labels(type(exception).__name__).inc()
        self.metrics.exceptions_by_view.labels(self._get_view_name(request)).inc()

    def label_metric(
        self, metric: Any, request: HttpRequest, response: HttpResponse | None = None, **labels: str
    ) -> Any:
        is_refused = response is not None and response.status_code in _REFUSALS
        if "view" in labels and (is_refused or request.method not in _METHODS):
            labels["view"] = "<refused>"
        if "method" in labels and request.method not in _METHODS:
            labels["method"] = "<other>"
        return super().label_metric(metric, request, response, **labels)

    def _get_view_name(self, request: HttpRequest) -> str:
        """Return the name of the URL; for the admin's tables that of the page alone, as each of them has them all."""
        match = request.resolver_match
        if match is None:
            return "<none>"
        if match.namespaces == ["admin"]:
            page = (match.url_name or "").rpartition("_")[2]
            return f"admin:{page if page in _ADMIN_PAGES else 'other'}"
        return match.view_name
