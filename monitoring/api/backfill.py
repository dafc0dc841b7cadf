"""``/monitoring/backfill``: preview, start and control a backfill over HTTP, under the same rules as in the admin."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.lib import audit_log
from employees.accounts import permission_scope
from employees.admin.backfill import ACTIONS
from employees.backfill import batches
from employees.credentials.authentication import key_permissions
from employees.models import BackfillRun, University
from monitoring.api import access
from monitoring.api.rollout import ReasonField, StrictBooleanField
from profiles.api.serializers import WholeNumberField
from profiles.rollout.rules import ChangeRefused

VIEW, START = "employees.view_backfillrun", "employees.add_backfillrun"


class BackfillStartSerializer(serializers.Serializer[Any]):
    reason = ReasonField()
    university_id = WholeNumberField(required=False, allow_null=True, min_value=1, max_value=2**63 - 1)
    replace_names = StrictBooleanField(
        required=False, help_text="also replace names, for people that the rollout admits to the cache"
    )
    dry_run = StrictBooleanField(required=False)


class BackfillReasonSerializer(serializers.Serializer[Any]):
    reason = ReasonField()


class BackfillPreviewSerializer(serializers.Serializer[Any]):
    university = serializers.CharField()
    now = serializers.CharField()
    then = serializers.CharField()
    count = serializers.IntegerField()


class BackfillRunSerializer(serializers.ModelSerializer[BackfillRun]):
    university_id = serializers.IntegerField(read_only=True, allow_null=True)
    rows_left = serializers.IntegerField(source="rows_unchanged", read_only=True)
    pause_reason = serializers.CharField(read_only=True)

    class Meta:
        model = BackfillRun
        fields = (
            "id", "status", "university_id", "replaces_names", "reason", "started_by", "rows_total", "rows_seen",
            "rows_changed", "rows_left", "rows_restored", "pause_reason", "created_at", "finished_at",
        )  # fmt: skip


class BackfillStartedSerializer(serializers.Serializer[Any]):
    run = BackfillRunSerializer(required=False, allow_null=True)
    id = serializers.IntegerField(required=False, help_text="of the run, without the permission to view backfills")
    is_dry_run = serializers.BooleanField()
    total = serializers.IntegerField(required=False, help_text="of a dry run: employees whose name would change")
    changes = BackfillPreviewSerializer(many=True, required=False)


class HasPermission(BasePermission):
    """Allow users who have the permission that the admin requires for the same action."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = key_permissions(view, str(request.method))
        return bool(request.user and request.user.has_perms(map(str, needed)))


class _View(APIView):
    authentication_classes = access.AUTHENTICATION
    permission_classes = [HasPermission]

    def latest(self, request: Request) -> BackfillRun:
        runs, limits = BackfillRun.objects.all(), permission_scope(request.user).university_ids()
        run = runs.first() if limits is None else runs.filter(university_id__in=limits).first()
        if run is None:
            raise NotFound
        return run


class BackfillView(_View):
    @property
    def permission(self) -> str:
        return VIEW if self.request.method == "GET" else START

    @extend_schema(responses=BackfillRunSerializer)
    def get(self, request: Request) -> Response:
        """Return the latest backfill, with its progress."""
        return Response(BackfillRunSerializer(self.latest(request)).data)

    @extend_schema(request=BackfillStartSerializer, responses=BackfillStartedSerializer)
    def post(self, request: Request) -> Response:
        """Start a backfill. A dry run only counts the names that would change, by university, old and new source."""
        serializer = BackfillStartSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        values = serializer.validated_data
        university = self._university(request, values.get("university_id"))
        replaces_names, may_view = values.get("replace_names", False), request.user.has_perm(VIEW)
        try:
            if values.get("dry_run"):
                batches.check_reason(values["reason"])
                batches.refuse_while_held()
                if not may_view:
                    return Response({"is_dry_run": True})
                preview = batches.preview_names(university, replaces_names=replaces_names, limit=0)
                rows = [dict(zip(("university", "now", "then", "count"), row, strict=True)) for row in preview.rows]
                return Response({"run": None, "is_dry_run": True, "total": preview.total, "changes": rows})
            run = batches.request(
                reason=values["reason"],
                by=request.user.get_username(),
                requested_by_id=request.user.pk,
                university=university,
                replaces_names=replaces_names,
            )
        except ChangeRefused as refused:
            raise serializers.ValidationError([str(refused)]) from None
        shown: dict[str, Any] = {"run": BackfillRunSerializer(run).data} if may_view else {"id": run.pk}
        return Response({**shown, "is_dry_run": False})

    def _university(self, request: Request, pk: int | None) -> University | None:
        """Return the university with this ID; None (all universities) if ``pk`` is None and the user sees all of them.

        Raise ValidationError if the university does not exist or the user may not see it. Also raise it if a user who
        is limited to one university gives no ID.
        """
        limits = permission_scope(request.user).university_ids()
        if pk is None and limits is None:
            return None
        known = University.objects.all() if limits is None else University.objects.filter(pk__in=limits)
        university = known.filter(pk=pk or 0).first()
        if university is None:
            raise serializers.ValidationError({"university_id": [_("There is no such university.")]})
        return university


class BackfillActionView(_View):
    name = ""
    view_permission = VIEW

    @property
    def permission(self) -> str:
        return ACTIONS[self.name].permission

    @extend_schema(request=BackfillReasonSerializer, responses=BackfillRunSerializer)
    def post(self, request: Request) -> Response:
        """Pause, resume or undo the latest backfill."""
        serializer = BackfillReasonSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        run, action = self.latest(request), ACTIONS[self.name]
        if run.status not in action.statuses:
            text = _("This is no longer possible. The backfill's status: %s.") % run.get_status_display()
            raise serializers.ValidationError([text])
        reason = serializer.validated_data["reason"]
        try:
            batches.check_reason(reason)
            batches.act(self.name, run, reason)
        except ChangeRefused as refused:
            raise serializers.ValidationError([str(refused)]) from None
        audit_log.record(request, audit_log.action_message(action.title, reason), run)
        run.refresh_from_db()
        return Response(BackfillRunSerializer(run).data)
