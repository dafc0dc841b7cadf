import time
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.lib import redis_connection
from config.lib.http import errors
from config.postgres.base import statement_deadline
from monitoring.alerts import engine
from monitoring.api import access
from monitoring.api.metrics import exposition
from monitoring.api.serializers import (
    CacheHealthSerializer,
    CoverageSerializer,
    OriginalProfileStatsSerializer,
    OriginalWebhookStatsSerializer,
    QualitySerializer,
    WebhookStatsSerializer,
)
from monitoring.dashboard.access import SEE
from monitoring.indicators.measurements import standby_message, standby_wait
from monitoring.stats import reports
from profiles import cache, failures
from profiles.rollout.decision import is_monitored
from profiles.rollout.models import Rollout

# PostgreSQL's part of the ten seconds for a response (docs/reference/http-api.md): a report on a locked table occupies
# a thread for this time. A busy machine, on which operators need the state of the rollout most, takes a second or two.
POSTGRES_TIMEOUT_SECONDS = 3.0
# /ready must respond within READY_SECONDS of config.web, so that its response names what does not respond.
_READY_SECONDS, _READY_POSTGRES_SECONDS = 0.65, 0.5
# Redis gets at least this time, even if PostgreSQL has used up the rest. A healthy Redis responds within it.
_LEAST_REDIS_SECONDS = 0.1


@errors.read_only
def health(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@errors.read_only
def ready(request: HttpRequest) -> HttpResponse:
    """Respond with 503 if PostgreSQL is unavailable or read-only; otherwise respond with 200.

    The body's status is ``degraded``, with a ``reason``, if Redis is unavailable, commits wait for a standby,
    or alerts have not been checked recently.
    """
    started = time.monotonic()
    try:
        with statement_deadline(_READY_POSTGRES_SECONDS), connection.cursor() as cursor:
            cursor.execute("SHOW transaction_read_only")
            is_read_only = cursor.fetchone() == ("on",)
            last_check = engine.last_check()
            waiting = standby_wait()
        has_database = True
    except DatabaseError:
        has_database = False
    # Check Redis after PostgreSQL, on which the status code depends: a slow Redis must not use up the time.
    with redis_connection.time_limit(max(_READY_SECONDS - (time.monotonic() - started), _LEAST_REDIS_SECONDS)):
        redis = cache.health()
    has_cache = redis["redis_connected"]
    if not has_database:
        return _not_ready("PostgreSQL does not respond", has_cache, has_database=False)
    if is_read_only:
        return _not_ready("PostgreSQL is read-only", has_cache, has_database=True)
    with translation.override("en"):  # The other reasons are in English too.
        reasons = [] if has_cache else [f"Redis: {failures.message_for(redis['last_error'])}"]
        reasons += [str(standby_message(waiting))] if waiting else []
    reasons += [last_check.warning()] if last_check.is_late else []
    body: dict[str, Any] = {"status": "degraded" if reasons else "ok", "database": True, "cache": has_cache}
    return JsonResponse(body | ({"reason": "; ".join(reasons)} if reasons else {}))


def _not_ready(reason: str, has_cache: bool, *, has_database: bool) -> HttpResponse:
    body = {"status": "unavailable", "database": has_database, "cache": has_cache, "reason": reason}
    return JsonResponse(body, status=503, headers={"Retry-After": str(errors.RETRY_AFTER_SECONDS)})


@errors.read_only
def metrics(request: HttpRequest) -> HttpResponse:
    if not settings.PROMETHEUS_ENABLED:
        return errors.not_found(request)
    if not access.is_open() and not access.bears_token(request.headers.get("Authorization", "")):
        return errors.refusal(401, _("The monitoring token is missing or wrong."))
    # Prometheus gives up after ten seconds: waiting for PostgreSQL would lose the metrics of Redis and processes too.
    with statement_deadline(POSTGRES_TIMEOUT_SECONDS):
        return HttpResponse(exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


class DeadlineView(APIView):
    # If PostgreSQL has not done its part within POSTGRES_TIMEOUT_SECONDS, the response is a 503.
    permission = SEE
    authentication_classes = access.AUTHENTICATION
    permission_classes = [access.MayMonitor]

    def perform_authentication(self, request: Request) -> None:
        # While the API is open to everybody, an expired token must not be refused.
        if not access.is_open():
            super().perform_authentication(request)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with statement_deadline(POSTGRES_TIMEOUT_SECONDS):
            return super().dispatch(request, *args, **kwargs)


class ReportView(DeadlineView):
    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not is_monitored():
            # A process that has not read the switches yet treats them as off. If PostgreSQL is unavailable, this query
            # raises, and the response is a 503, not a 404.
            Rollout.current()
            raise NotFound(_("Monitoring is switched off."))


class CoverageView(ReportView):
    @extend_schema(responses=CoverageSerializer)
    def get(self, request: Request) -> Response:
        """Report how many people have a profile, and how many have a full name.

        If your account is limited to one university, only its employees count as users. The numbers of profiles always
        cover all people.
        """
        return Response({"degraded": False, **reports.coverage(access.universities_of(request))})


class ProfileStatsView(ReportView):
    @extend_schema(responses=OriginalProfileStatsSerializer)
    def get(self, request: Request) -> Response:
        """Report coverage, with the additional fields of the original service.

        If your account is limited to one university, only its employees count as users. The numbers of profiles always
        cover all people.
        """
        return Response({"degraded": False, **reports.profile_stats(access.universities_of(request))})


class QualityView(ReportView):
    @extend_schema(responses=QualitySerializer)
    def get(self, request: Request) -> Response:
        """Report how complete and recent the profiles are.

        If your account is limited to one university, the numbers of employees cover only that university. The numbers
        of profiles always cover all people.
        """
        return Response({"degraded": False, **reports.quality(access.universities_of(request))})


_PERIOD = OpenApiParameter(
    "period", str, enum=list(reports.PERIODS), default="day", description="Length of the window that ends now"
)


def _period(request: Request) -> str:
    period = request.query_params.get("period") or "day"
    if period not in reports.PERIODS:
        raise serializers.ValidationError({"period": [_("Must be one of %s.") % ", ".join(reports.PERIODS)]})
    return period


class WebhookStatsView(ReportView):
    @extend_schema(parameters=[_PERIOD], responses=WebhookStatsSerializer)
    def get(self, request: Request) -> Response:
        """Report the number, results and processing times of the updates received in a period."""
        return Response({"degraded": False, **reports.webhook_stats(_period(request))})


class OriginalWebhookStatsView(ReportView):
    # Without this ID, the path would have the same operation ID as webhook/stats in the schema.
    @extend_schema(
        operation_id="monitoring_webhook_stats_alias_retrieve",
        parameters=[_PERIOD],
        responses=OriginalWebhookStatsSerializer,
    )
    def get(self, request: Request) -> Response:
        """Report the updates received in a period, with the additional fields of the original service."""
        return Response({"degraded": False, **reports.original_webhook_stats(_period(request))})


class CacheHealthView(ReportView):
    @extend_schema(responses=CacheHealthSerializer)
    def get(self, request: Request) -> Response:
        """Report the health of Redis."""
        return Response(reports.cache_health())
