from functools import partial
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.lib import errors
from config.postgres.base import statement_deadline
from monitoring import lasting
from monitoring.api import access
from monitoring.api.metrics import exposition
from monitoring.api.serializers import (
    CacheHealthSerializer,
    CoverageSerializer,
    QualitySerializer,
    WebhookStatsSerializer,
)
from monitoring.stats import reports
from profiles import cache
from profiles.rollout.decision import is_monitored


@errors.read_only
def health(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@errors.read_only
def ready(request: HttpRequest) -> HttpResponse:
    """Ready while PostgreSQL answers; without Redis the system works on, degraded."""
    has_cache = cache.health()["redis_connected"]
    try:
        with statement_deadline(lasting.PATIENCE_SECONDS), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        told = {"status": "unavailable", "database": False, "cache": has_cache}
        return JsonResponse(told, status=503, headers={"Retry-After": str(errors.RETRY_AFTER_SECONDS)})
    return JsonResponse({"status": "ok" if has_cache else "degraded", "database": True, "cache": has_cache})


@errors.read_only
def metrics(request: HttpRequest) -> HttpResponse:
    if not settings.PROMETHEUS_ENABLED:
        return errors.not_found(request)
    if not access.is_open() and not access.bears_token(request.headers.get("Authorization", "")):
        return errors.refusal(401, _("the monitoring token is missing or wrong"))
    # Prometheus gives up after ten seconds, and would lose what Redis and the processes say along with PostgreSQL's.
    with statement_deadline(lasting.PATIENCE_SECONDS):
        return HttpResponse(exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


class DeadlineView(APIView):
    # For those who may monitor, who are told in time that PostgreSQL does not answer.
    authentication_classes = access.READING_AUTHENTICATION
    permission_classes = [access.MayMonitor]

    def perform_authentication(self, request: Request) -> None:
        # Where anybody may look, nobody has to be looked up, which takes PostgreSQL.
        if not access.is_open():
            super().perform_authentication(request)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with statement_deadline(lasting.patience_left()):
            return super().dispatch(request, *args, **kwargs)


class ReportView(DeadlineView):
    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not is_monitored():
            raise NotFound(_("monitoring is switched off"))


class CoverageView(ReportView):
    @extend_schema(responses=CoverageSerializer)
    def get(self, request: Request) -> Response:
        return Response(lasting.told("coverage", reports.coverage, CoverageSerializer))


class QualityView(ReportView):
    @extend_schema(responses=QualitySerializer)
    def get(self, request: Request) -> Response:
        return Response(lasting.told("quality", reports.quality, QualitySerializer))


class WebhookStatsView(ReportView):
    @extend_schema(
        parameters=[OpenApiParameter("period", str, enum=list(reports.PERIODS))], responses=WebhookStatsSerializer
    )
    def get(self, request: Request) -> Response:
        period = request.query_params.get("period", "day")
        if period not in reports.PERIODS:
            raise serializers.ValidationError({"period": [_("one of %s") % ", ".join(reports.PERIODS)]})
        return Response(
            lasting.told(f"webhook_stats {period}", partial(reports.webhook_stats, period), WebhookStatsSerializer)
        )


# One that has two paths would have its name in the schema taken twice.
@extend_schema_view(get=extend_schema(operation_id="monitoring_webhook_stats_alias_retrieve"))
class WebhookStatsAliasView(WebhookStatsView):
    """The guide's own path."""


class CacheHealthView(ReportView):
    @extend_schema(responses=CacheHealthSerializer)
    def get(self, request: Request) -> Response:
        return Response(lasting.told("cache_health", reports.cache_health, CacheHealthSerializer))
