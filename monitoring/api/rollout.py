"""``/monitoring/rollout``: show and change the rollout over HTTP, under the same rules as ``manage.py rollout``."""

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
from monitoring.rollout_control import FORCE, OPERATE, SEE_ROLLOUT, STOP, rollback
from monitoring.rollout_control.rollback import NotVerified
from monitoring.stats import reports
from profiles.rollout import changes
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.lock import Busy
from profiles.rollout.models import Action
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import ChangeRefused, OutsideUniversity


@extend_schema_field(OpenApiTypes.INT)
class RevisionField(serializers.CharField):
    """A revision, accepted as text: the rules validate it, with the same message as on every other surface."""


class ChangeSerializer(serializers.Serializer[Any]):
    # Empty values are passed on to the rules, which refuse them with the same message as on every other surface.
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
    permission = SEE_ROLLOUT

    @extend_schema(responses=RolloutSerializer)
    def get(self, request: Request) -> Response:
        return Response({"degraded": False, **reports.rollout()})


ACTIONS = (Action.SET, Action.ADVANCE, Action.PAUSE, Action.RESUME, Action.EMERGENCY)


class MayChange(BasePermission):
    """Admit users who have the permission that the admin requires for the same action."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = STOP if getattr(view, "action", None) == Action.EMERGENCY else OPERATE
        return bool(request.user and request.user.has_perm(needed))


class RolloutChangeView(APIView):
    authentication_classes = access.AUTHENTICATION
    permission_classes = [MayChange]
    action = Action.SET

    @property
    def permission(self) -> str:
        return STOP if self.action == Action.EMERGENCY else OPERATE

    @extend_schema(request=ChangeSerializer, responses=ChangeResultSerializer)
    def post(self, request: Request) -> Response:
        serializer = ChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        values = serializer.validated_data
        if self.action == Action.SET and values["phase"] is None:
            raise serializers.ValidationError({"phase": [serializer.fields["phase"].error_messages["required"]]})
        if values["is_forced"] and not request.user.has_perm(FORCE):
            raise PermissionDenied(_("You may not go ahead while gates do not pass."))
        try:
            limits = access.universities_of(request)
            by = request.user.get_username()
            change = ChangeRequest.of(self.action, Source.API, by=by, universities=limits, **values)
            outcome = changes.apply(change)
        except OutsideUniversity as refused:
            raise PermissionDenied(str(refused)) from None
        except Busy as busy:
            raise JobRunning(str(busy)) from None
        except ChangeRefused as refused:
            raise serializers.ValidationError([str(refused)]) from None
        body = {
            "revision": outcome.revision,
            "is_change": outcome.is_change,
            "is_dry_run": outcome.is_dry_run,
            "percents": {name: float(outcome.after.percents[name]) for name in PHASES},
        }
        if self.action == Action.EMERGENCY and not outcome.is_dry_run:
            try:
                body["verification"] = list(rollback.verify("emergency"))
            except NotVerified as doubt:
                body["verification"] = [f"not verified: {doubt}"]
        return Response(ChangeResultSerializer(body).data)
