"""``/monitoring/rollout``: the same functions as ``manage.py rollout``, for staff."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.errors import JobRunning
from monitoring import access, lasting, reports, steering, way_back
from monitoring.screens.access import FORCE, OPERATE, STOP
from monitoring.serializers import RolloutSerializer
from monitoring.views import PatientView
from monitoring.way_back import NotVerified
from profiles.rollout import changes
from profiles.rollout.controls import Controls, Outcome
from profiles.rollout.lock import Busy
from profiles.rollout.models import PHASES
from profiles.rollout.rules import ChangeRefused, Order


class ChangeSerializer(serializers.Serializer[Any]):
    # Empty ones reach the rules, so that they are refused in the words of every other surface.
    reason = serializers.CharField(required=False, allow_blank=True, default="")
    phase = serializers.CharField(required=False, allow_null=True, default=None)
    percent = serializers.CharField(required=False, default="")
    expect_revision = serializers.IntegerField(required=False, allow_null=True, default=None)
    dry_run = serializers.BooleanField(required=False, default=False)
    force = serializers.BooleanField(required=False, default=False)


class OutcomeSerializer(serializers.Serializer[Any]):
    revision = serializers.IntegerField()
    is_change = serializers.BooleanField()
    is_dry_run = serializers.BooleanField()
    percents = serializers.DictField(child=serializers.FloatField())
    verification = serializers.ListField(child=serializers.CharField(), required=False)


def _percents(controls: Controls) -> dict[str, float]:
    return {name: float(controls.percents[name]) for name in PHASES}


class RolloutView(PatientView):
    @extend_schema(responses=RolloutSerializer)
    def get(self, request: Request) -> Response:
        return Response(lasting.told("rollout", reports.rollout, RolloutSerializer))


ACTIONS: dict[str, Callable[[str | None, str, Order], Outcome]] = {
    "set": steering.set_percent,
    "advance": lambda phase, _percent, order: steering.advance(phase, order),
    "pause": lambda _phase, _percent, order: changes.pause(order),
    "resume": lambda _phase, _percent, order: changes.resume(order),
    "emergency": lambda _phase, _percent, order: way_back.emergency(order),
}


class MaySteer(BasePermission):
    """Staff with the permission that the same deed takes in the admin."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = STOP if getattr(view, "action", "") == "emergency" else OPERATE
        return bool(request.user and request.user.is_staff and request.user.has_perm(needed))


class RolloutChangeView(APIView):
    authentication_classes = access.AUTHENTICATION
    permission_classes = [MaySteer]
    action = ""

    @extend_schema(request=ChangeSerializer, responses=OutcomeSerializer)
    def post(self, request: Request) -> Response:
        asked = ChangeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        if self.action == "set" and given["phase"] is None:
            raise serializers.ValidationError({"phase": [asked.fields["phase"].error_messages["required"]]})
        if given["force"] and not request.user.has_perm(FORCE):
            raise PermissionDenied(_("To go past gates that do not pass takes a permission of its own"))
        order = Order(
            request.user.get_username(),
            given["reason"],
            given["expect_revision"],
            given["dry_run"],
            given["force"],
        )
        try:
            outcome = ACTIONS[self.action](given["phase"], given["percent"], order)
        except Busy as busy:
            raise JobRunning(str(busy)) from None
        except ChangeRefused as refused:
            raise serializers.ValidationError([str(refused)]) from None
        return Response(OutcomeSerializer(self._told(outcome)).data)

    def _told(self, outcome: Outcome) -> dict[str, Any]:
        told = {
            "revision": outcome.revision,
            "is_change": outcome.is_change,
            "is_dry_run": outcome.is_dry_run,
            "percents": _percents(outcome.after),
        }
        if self.action == "emergency" and not outcome.is_dry_run:
            try:
                told["verification"] = list(way_back.verify("emergency"))
            except NotVerified as doubt:
                told["verification"] = [f"not proven: {doubt}"]
        return told
