"""``/monitoring/rollout``: the same functions as ``manage.py rollout``, for staff."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.lib.errors import JobRunning
from monitoring.api import access
from monitoring.api.serializers import RolloutSerializer
from monitoring.api.views import DeadlineView
from monitoring.dashboard.access import FORCE, OPERATE, STOP
from monitoring.rollout_control import rollback
from monitoring.rollout_control.rollback import NotVerified
from monitoring.stats import reports
from profiles.rollout import changes
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.lock import Busy
from profiles.rollout.models import Action
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import ChangeRefused


@extend_schema_field(OpenApiTypes.INT)
class RevisionField(serializers.CharField):
    """A number, read by the rules: they refuse what is none in the words of every other surface."""


class ChangeSerializer(serializers.Serializer[Any]):
    # Empty ones reach the rules, so that they are refused in the words of every other surface.
    reason = serializers.CharField(required=False, allow_blank=True, default="")
    phase = serializers.CharField(required=False, allow_null=True, allow_blank=True, default=None)
    percent = serializers.CharField(required=False, allow_blank=True, default="")
    expect_revision = RevisionField(
        source="expected_revision", required=False, allow_null=True, allow_blank=True, default=None
    )
    dry_run = serializers.BooleanField(source="is_dry_run", required=False, default=False)
    force = serializers.BooleanField(source="is_forced", required=False, default=False)


class ChangeResultSerializer(serializers.Serializer[Any]):
    revision = serializers.IntegerField()
    is_change = serializers.BooleanField()
    is_dry_run = serializers.BooleanField()
    percents = serializers.DictField(child=serializers.FloatField())
    verification = serializers.ListField(child=serializers.CharField(), required=False)


class RolloutView(DeadlineView):
    @extend_schema(responses=RolloutSerializer)
    def get(self, request: Request) -> Response:
        return Response({"degraded": False, **reports.rollout()})


ACTIONS = (Action.SET, Action.ADVANCE, Action.PAUSE, Action.RESUME, Action.EMERGENCY)


class MaySteer(BasePermission):
    """Staff with the permission that the same action takes in the admin."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = STOP if getattr(view, "action", None) == Action.EMERGENCY else OPERATE
        return bool(request.user and request.user.is_staff and request.user.has_perm(needed))


class RolloutChangeView(APIView):
    authentication_classes = access.AUTHENTICATION
    permission_classes = [MaySteer]
    action = Action.SET

    @extend_schema(request=ChangeSerializer, responses=ChangeResultSerializer)
    def post(self, request: Request) -> Response:
        asked = ChangeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        if self.action == Action.SET and given["phase"] is None:
            raise serializers.ValidationError({"phase": [asked.fields["phase"].error_messages["required"]]})
        if given["is_forced"] and not request.user.has_perm(FORCE):
            raise PermissionDenied(_("To go past gates that do not pass takes a permission of its own"))
        try:
            change = ChangeRequest.of(self.action, Source.API, by=request.user.get_username(), **given)
            outcome = changes.apply(change)
        except Busy as busy:
            raise JobRunning(str(busy)) from None
        except ChangeRefused as refused:
            raise serializers.ValidationError([str(refused)]) from None
        answer = {
            "revision": outcome.revision,
            "is_change": outcome.is_change,
            "is_dry_run": outcome.is_dry_run,
            "percents": {name: float(outcome.after.percents[name]) for name in PHASES},
        }
        if self.action == Action.EMERGENCY and not outcome.is_dry_run:
            try:
                answer["verification"] = list(rollback.verify("emergency"))
            except NotVerified as doubt:
                answer["verification"] = [f"not proven: {doubt}"]
        return Response(ChangeResultSerializer(answer).data)
