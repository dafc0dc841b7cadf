"""Counts requests by django-prometheus, under labels whose number neither clients nor tables can increase."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django_prometheus.middleware import PrometheusAfterMiddleware

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
# Anybody can get them from any view by any method.
_REFUSALS = frozenset({401, 403, 404, 405})
_ADMIN_PAGES = frozenset({"add", "change", "changelist", "delete", "export", "history", "import", "index", "login"})


class RequestMetricsMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]
    """Label a request when its response is known; the library would accept any word as a method."""

    def process_view(self, request: HttpRequest, *_view: Any) -> None:
        """Leave the view to ``process_response``, which knows whether the request was refused."""

    def process_template_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Count no templates: the admin has several names for each page, one of them by table."""
        return response

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        labels = {"view": self._get_view_name(request), "transport": self._transport(request)}
        metric = self.metrics.requests_by_view_transport_method
        self.label_metric(metric, request, response, **labels, method=request.method or "").inc()
        counted: HttpResponse = super().process_response(request, response)
        return counted

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Count the error by its class and view; the library would also observe the latency a second time."""
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
        """Return the name of the URL; of the admin only the kind of page, because each table has all of them."""
        match = request.resolver_match
        if match is None:
            return "<none>"
        if match.namespaces == ["admin"]:
            page = (match.url_name or "").rpartition("_")[2]
            return f"admin:{page if page in _ADMIN_PAGES else 'other'}"
        return match.view_name
