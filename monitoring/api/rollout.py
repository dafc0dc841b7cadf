"""``/monitoring/rollout``: show and change the rollout over HTTP, under the same rules as ``manage.py rollout``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import APIException, NotFound, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.lib import text as texts
from config.lib.http.errors import JobRunning, WaitsForApproval
from employees.accounts import permission_scope
from monitoring.api import access
from monitoring.api.serializers import PlansSerializer, RolloutSerializer
from monitoring.api.views import DeadlineView
from monitoring.dashboard.access import visible_requests
from monitoring.rollout_control import FORCE, OPERATE, SEE_ROLLOUT, STOP, approvals, rollback
from monitoring.rollout_control.approvals import Decider, NotPermitted
from monitoring.rollout_control.presenters import timelines
from monitoring.rollout_control.rollback import NotVerified
from monitoring.stats import reports
from profiles.api.serializers import WholeNumberField, checked_text
from profiles.rollout import changes, plans, presenters, rules
from profiles.rollout.approvals import ApprovalNeeded
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.lock import Busy
from profiles.rollout.models import REASON_LENGTH, Action, Approval, ApprovalQuerySet, Rollout
from profiles.rollout.phases import PHASES
from profiles.rollout.presenters import audit_rows
from profiles.rollout.rollout_settings import ChangeResult
from profiles.rollout.rules import ChangeRefused, OutsideUniversity

_REVISION = {"type": "integer", "format": "int64", "minimum": 0}
_PHASES = [spelling for n, name in enumerate(PHASES, 1) for spelling in (str(n), name.partition("_")[0], name)]
_PHASE = {"oneOf": [{"type": "integer", "minimum": 1, "maximum": 4}, {"type": "string", "enum": _PHASES}]}
_PERCENT = {
    "oneOf": [
        {"type": "number", "minimum": 0, "maximum": 100},
        {"type": "string", "pattern": f"^{rules.PERCENTAGE.pattern}$"},
    ],
    "description": "at most two decimals",
}


class StrictBooleanField(serializers.BooleanField):
    """Accept only JSON's true and false: words such as “off” must not decide whether a change is a dry run."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


# The rules validate the values, with the same messages as on every other surface.
@extend_schema_field(_REVISION)
class _RevisionField(serializers.CharField):
    pass


@extend_schema_field(_PHASE)
class _PhaseField(serializers.CharField):
    pass


@extend_schema_field(_PERCENT)
class _PercentField(serializers.CharField):
    pass


@extend_schema_field({"type": "string", "pattern": texts.VISIBLE_PATTERN, "maxLength": REASON_LENGTH})
class ReasonField(serializers.Field[str, str, str, Any]):
    def to_internal_value(self, data: Any) -> str:
        return checked_text(data).strip()


class ChangeSerializer(serializers.Serializer[Any]):
    reason = ReasonField()
    expect_revision = _RevisionField(
        source="expected_revision",
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="the change is refused if the rollout has another revision",
    )
    dry_run = StrictBooleanField(source="is_dry_run", required=False)


class AdvanceSerializer(ChangeSerializer):
    phase = _PhaseField(required=False, allow_null=True, allow_blank=True)
    force = StrictBooleanField(source="is_forced", required=False)


class SetSerializer(AdvanceSerializer):
    phase = _PhaseField(allow_blank=True)
    percent = _PercentField(allow_blank=True)


class PlannedStepSerializer(serializers.Serializer[Any]):
    percent = _PercentField(allow_blank=True)
    at = serializers.DateTimeField(help_text="with `when_gates_pass`, the earliest time")

    def validate_at(self, value: datetime) -> datetime:
        return plans.check_moment(value)


class PlanSerializer(ChangeSerializer):
    phase = _PhaseField(allow_blank=True)
    steps = PlannedStepSerializer(many=True, allow_empty=False, help_text="in rising order, each at its time")
    when_gates_pass = StrictBooleanField(
        source="waits_for_gates", required=False, help_text="take each step as soon as its gates pass"
    )
    hours = serializers.CharField(required=False, allow_blank=True, help_text="hours of the site's day, such as 9-18")

    def validate_hours(self, value: str) -> tuple[int, int] | None:
        return rules.hours(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return attrs | {"steps": [(step["percent"], step["at"]) for step in attrs["steps"]]}


class CancelSerializer(ChangeSerializer):
    plan = WholeNumberField(min_value=1, max_value=2**63 - 1)


class ApprovalSerializer(serializers.ModelSerializer[Approval]):
    what = serializers.SerializerMethodField(help_text="the change in words")
    reason = serializers.CharField(source="text")

    class Meta:
        model = Approval
        fields = ("id", "at", "by", "action", "what", "reason", "is_forced", "revision", "expires_at")

    def get_what(self, approval: Approval) -> str:
        return audit_rows.change(approval)


class ChangeResultSerializer(serializers.Serializer[Any]):
    """The result of a change. Users who may not view the rollout get no fields that show its state."""

    revision = serializers.IntegerField(required=False)
    is_change = serializers.BooleanField()
    is_dry_run = serializers.BooleanField()
    percents = serializers.DictField(child=serializers.FloatField(), required=False)
    changes = serializers.ListField(child=serializers.CharField(), required=False, help_text="what changed, in words")
    verification = serializers.ListField(child=serializers.CharField(), required=False)


class RolloutView(DeadlineView):
    permission = SEE_ROLLOUT

    @extend_schema(responses=RolloutSerializer)
    def get(self, request: Request) -> Response:
        """Return percentages, switches, revision and plans, and which processes have applied the revision."""
        shown = timelines(Rollout.current().revision)
        plans = [{"plan": steps[0].number, "steps": [step.row for step in steps]} for steps in shown]
        report = {
            "plans": PlansSerializer(plans, many=True).data,
            "approvals_waiting": _visible_requests(request).count(),
        }
        return Response({"degraded": False, **reports.rollout(), **report})


def _visible_requests(request: Request) -> ApprovalQuerySet:
    """Return the waiting requests for approval that the user may see; with the monitoring token, all of them."""
    waiting = Approval.objects.waiting()
    return waiting if access.universities_of(request) is None else waiting & visible_requests(request.user)


class MayChange(BasePermission):
    """Allow users who have the permission that the admin requires for the same action."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = STOP if getattr(view, "action", None) == Action.EMERGENCY else OPERATE
        return bool(request.user and request.user.has_perm(needed))


class RolloutChangeView(APIView):
    authentication_classes = access.AUTHENTICATION
    permission_classes = [MayChange]
    action: Action
    serializer_class: type[ChangeSerializer] = ChangeSerializer

    @property
    def permission(self) -> str:
        return STOP if self.action == Action.EMERGENCY else OPERATE

    def post(self, request: Request) -> Response:
        serializer = self.serializer_class(data=request.data)
        serializer.is_valid(raise_exception=True)
        values = serializer.validated_data
        if values.get("is_forced") and not request.user.has_perm(FORCE):
            raise PermissionDenied(_("You do not have permission to take a step while gates do not pass."))
        try:
            limits = permission_scope(request.user).university_ids()
            by = request.user.get_username()
            params: dict[str, Any] = {"universities": limits, "account": request.user.pk}
            change = ChangeRequest.of(self.action, Source.API, by=by, **params, **values)
            outcome = changes.apply(change)
        except ChangeRefused as refused:
            raise _api_error(refused, request) from None
        body = _body(outcome)
        if self.action in (Action.PLAN, Action.CANCEL):
            body |= {"is_change": not outcome.is_dry_run, "changes": [str(self.action.label)]}
        if self.action == Action.EMERGENCY and not outcome.is_dry_run:
            body["verification"] = _verification(outcome, is_shown=request.user.has_perm(SEE_ROLLOUT))
        # Users who may not view the rollout do not get ``changes``, which also contain this line.
        if outcome.is_here_only and not request.user.has_perm(SEE_ROLLOUT):
            body["verification"] = [*body.get("verification", []), *presenters.durability(outcome)]
        return _response(request, body)


def _verification(outcome: ChangeResult, *, is_shown: bool) -> list[str]:
    """Return lines that state whether the stop took effect; if ``is_shown``, with details such as the revision."""
    try:
        lines = list(rollback.verify("emergency"))
    except NotVerified as doubt:
        return [_("not verified: %s") % doubt if is_shown else str(rollback.STOP_NOT_VERIFIED)]
    return lines if is_shown else [str(rollback.STOP_NOT_VERIFIED if outcome.is_here_only else rollback.STOP_VERIFIED)]


def _response(request: Request, body: dict[str, Any]) -> Response:
    is_shown = request.user.has_perm(SEE_ROLLOUT)
    hidden = () if is_shown else ("revision", "percents", "changes")
    return Response(ChangeResultSerializer({name: body[name] for name in body if name not in hidden}).data)


def _body(outcome: ChangeResult) -> dict[str, Any]:
    return {
        "revision": outcome.revision,
        "is_change": outcome.is_change,
        "is_dry_run": outcome.is_dry_run,
        "percents": {name: float(outcome.after.percents[name]) for name in PHASES},
        "changes": presenters.outcome(outcome),
    }


def _api_error(refused: ChangeRefused, request: Request) -> APIException:
    """Return the error for a refused change; its text shows rollout values only to users who may view the rollout."""
    if isinstance(refused, ApprovalNeeded):
        return WaitsForApproval(str(refused))
    if isinstance(refused, OutsideUniversity | NotPermitted):
        return PermissionDenied(str(refused))
    if isinstance(refused, Busy):
        return JobRunning(str(refused))
    return serializers.ValidationError([presenters.refusal(refused, is_shown=request.user.has_perm(SEE_ROLLOUT))])


class ApprovalsView(DeadlineView):
    permission = SEE_ROLLOUT

    @extend_schema(responses=ApprovalSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Return the changes that wait for approval by a second person."""
        return Response(ApprovalSerializer(_visible_requests(request), many=True).data)


class DecisionView(APIView):
    authentication_classes = access.AUTHENTICATION
    permission_classes = [MayChange]
    permission = OPERATE
    verdict = "approve"

    @extend_schema(request=ChangeSerializer, responses=ChangeResultSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Approve or refuse a change that waits for approval. Refusing your own change withdraws it."""
        serializer = ChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        decider = Decider.of(request.user)
        if not visible_requests(request.user).filter(pk=pk).exists():
            raise NotFound
        try:
            outcome = approvals.VERDICTS[self.verdict](pk, decider, **serializer.validated_data)
        except ChangeRefused as refused:
            raise _api_error(refused, request) from None
        return _response(request, _body(outcome))


def _view(action: Action, description: str, serializer: type[ChangeSerializer] = ChangeSerializer) -> Any:
    schema = extend_schema(description=description, request=serializer, responses=ChangeResultSerializer)
    attributes = {"action": action, "serializer_class": serializer}
    return extend_schema_view(post=schema)(type("RolloutChangeView", (RolloutChangeView,), attributes))


VIEWS = {
    Action.SET: _view(Action.SET, "Set the percentage of a phase.", SetSerializer),
    Action.ADVANCE: _view(
        Action.ADVANCE,
        "Take the next step. Without a phase, that of the phase in progress.",
        AdvanceSerializer,
    ),
    Action.PAUSE: _view(Action.PAUSE, "Pause the rollout. Percentages stay; steps are refused."),
    Action.RESUME: _view(Action.RESUME, "Resume a paused or stopped rollout."),
    Action.PLAN: _view(Action.PLAN, "Plan one step of a phase or several.", PlanSerializer),
    Action.CANCEL: _view(Action.CANCEL, "Cancel what is left of a plan.", CancelSerializer),
    Action.EMERGENCY: _view(Action.EMERGENCY, "Stop the rollout at once. The direct API then serves all names."),
}
