from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from config.lib.http.pagination import PAGE_PARAMETERS, Pages
from monitoring.alerts.models import Alert
from monitoring.api.views import ReportView

_STATES = ("open", "resolved")
_PAGE = PAGE_PARAMETERS.items()


class AlertSerializer(serializers.Serializer[Any]):
    """An alert: the fields that its notifications contain, its acknowledgement and its mute."""

    id = serializers.IntegerField()
    alert_type = serializers.CharField()
    severity = serializers.CharField()
    message = serializers.CharField()
    timestamp = serializers.DateTimeField()
    runbook_url = serializers.URLField()
    dashboard_url = serializers.URLField()
    status = serializers.ChoiceField(["firing", "resolved"])
    fired_at = serializers.DateTimeField()
    resolved_at = serializers.DateTimeField(allow_null=True)
    acknowledged_by = serializers.CharField(allow_null=True)
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    muted_until = serializers.DateTimeField(allow_null=True)
    mute_reason = serializers.CharField(allow_blank=True)

    def to_representation(self, alert: Alert) -> dict[str, Any]:
        return alert.as_json() | {
            "id": alert.pk,
            "status": "firing" if alert.is_open else "resolved",
            "fired_at": alert.fired_at,
            "resolved_at": alert.resolved_at,
            "acknowledged_by": alert.acknowledged_by.get_username() if alert.acknowledged_by else None,
            "acknowledged_at": alert.acknowledged_at,
            "muted_until": alert.muted_until if alert.is_muted else None,
            "mute_reason": alert.mute_reason if alert.is_muted else "",
        }


class AlertPageSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = AlertSerializer(many=True)


class AlertsView(ReportView):
    permission = "monitoring.view_alert"

    @extend_schema(
        parameters=[
            OpenApiParameter("state", str, enum=_STATES, description="Both if absent"),
            *(OpenApiParameter(name, each["schema"], description=each["description"]) for name, each in _PAGE),
        ],
        responses=AlertPageSerializer,
    )
    def get(self, request: Request) -> Response:
        """List the open alerts, then those resolved in the last 30 days."""
        alerts = Alert.objects.for_listing()
        state = request.query_params.get("state", "")
        if state:
            if state not in _STATES:
                raise serializers.ValidationError({"state": [_("Must be one of %s.") % ", ".join(_STATES)]})
            alerts = alerts.filter(resolved_at__isnull=state == "open")
        pagination = Pages()
        page = pagination.paginate_queryset(alerts, request, self) or []
        return pagination.get_paginated_response(AlertSerializer(page, many=True).data)
