"""Decide on requests for approval: a second person with the same permission approves or refuses them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Self

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from config.lib.messages import Message
from config.postgres.locks import commit_here, limit_commit
from employees.accounts import permission_scope
from monitoring.rollout_control import FORCE, OPERATE
from profiles.rollout import approvals, changes, plans, rules
from profiles.rollout.change_request import Approver, ChangeRequest
from profiles.rollout.lock import change_transaction
from profiles.rollout.models import Action, Approval, ApprovalState, Plan, PlanState, Rollout
from profiles.rollout.rollout_settings import ChangeResult, RolloutSettings
from profiles.rollout.rules import ChangeRefused

_PERMISSIONS = {Action.SCOPE: "rollout.change_scope", Action.SWITCH: "waffle.change_switch"}
_OUTDATED = Message("The rollout has changed since the request was made, so the request no longer applies. Refuse it.")


class NotPermitted(ChangeRefused):
    """Raised when somebody decides on a change that they may not make themselves."""


@dataclass(frozen=True, slots=True)
class Decider:
    """The account that decides, and the IDs of the universities that it is limited to; None means all universities."""

    person: Approver
    has_perm: Callable[[str], bool]
    universities: Collection[int] | None

    @classmethod
    def of(cls, user: Any) -> Self:
        """Return the decider for a user. An API key decides as its owner, limited to the key's permissions."""
        person = Approver(user.get_username(), user.pk, getattr(user, user.USERNAME_FIELD))
        return cls(person, user.has_perm, permission_scope(user).university_ids())

    def may_decide(self, approval: Approval) -> bool:
        return all(map(self.has_perm, _permissions_of(approval.action, is_forced=approval.is_forced)))


def _permissions_of(action: str, *, is_forced: bool) -> list[str]:
    return [_PERMISSIONS.get(Action(action), OPERATE), *([FORCE] if is_forced else [])]


def refuse_former(request: ChangeRequest) -> None:
    """Raise ChangeRefused if the account that requested the change may no longer make it.

    A request from the shell has no account. It is checked only if there is an account with the shell user's name.
    """
    users = get_user_model().objects
    name = {get_user_model().USERNAME_FIELD: request.by}
    user = (users.filter(**name) if request.account is None else users.filter(pk=request.account)).first()
    if user is None and request.account is None:
        return
    permissions = _permissions_of(request.action, is_forced=request.is_forced)
    if user is None or not all(map(user.has_perm, permissions)):
        raise ChangeRefused(Message("“%(by)s” no longer has permission to make this change.", {"by": request.by}))
    changes.refuse_outside_university(replace(request, universities=permission_scope(user).university_ids()))


def approve(
    pk: int, decider: Decider, reason: str, *, expected_revision: object = None, is_dry_run: bool = False
) -> ChangeResult:
    """Apply the waiting change and return the result; rules and gates are checked as if it were requested now.

    Raise ChangeRefused, and keep the request, if the decider may not approve the change or if rules or gates forbid it.
    """
    person = replace(decider.person, reason=str(rules.reason(reason)))
    with change_transaction():
        approval = _locked(pk)
        request = replace(
            approvals.request_of(approval),
            approval=person,
            # The revision of the preview, if given: the approval must not end an emergency stop that came after it.
            expected_revision=rules.revision(expected_revision) or Rollout.current().revision,
            universities=decider.universities,
            is_dry_run=is_dry_run,
        )
        approvals.refuse_own(request, person)
        _refuse_without_permission(approval, decider)
        refuse_former(request)
        plan = _locked_plan(approval)
        if plan:
            rules.refuse_stale(plan.revision, Rollout.current().revision)
        _refuse_outdated(request)
        result = changes.apply(request)
        if not is_dry_run:
            approval.conclude(ApprovalState.APPROVED, person.name, person.reason)
            if plan:
                plans.finish(plan, result.revision)
    return result


def refuse(
    pk: int, decider: Decider, reason: str, *, expected_revision: object = None, is_dry_run: bool = False
) -> ChangeResult:
    """Refuse the request, or withdraw it if it is the decider's own. If it belongs to a plan, end the plan."""
    person, rollout = replace(decider.person, reason=str(rules.reason(reason))), Rollout.current()
    with change_transaction():
        approval = _locked(pk)
        request = replace(approvals.request_of(approval), universities=decider.universities)
        rules.refuse_stale(rules.revision(expected_revision), rollout.revision)
        if not request.is_by(person):
            changes.refuse_outside_university(request)
            _refuse_without_permission(approval, decider)
        if not is_dry_run:
            limit_commit()
            state = ApprovalState.WITHDRAWN if request.is_by(person) else ApprovalState.REFUSED
            approval.conclude(state, person.name, person.reason)
            _stop_plan(approval, Message("Not approved by %(by)s: %(why)s", {"by": person.name, "why": person.reason}))
    settings = RolloutSettings.read(rollout)
    return ChangeResult(settings, settings, rollout.revision, is_dry_run)


VERDICTS = {"approve": approve, "refuse": refuse}


def expire() -> None:
    """Mark requests as expired if nobody decided on them in time, and end the plans that they belong to."""
    overdue = Approval.objects.filter(state=ApprovalState.WAITING, expires_at__lte=timezone.now())
    with transaction.atomic():
        commit_here()
        for approval in overdue.select_for_update(skip_locked=True):
            approval.conclude(ApprovalState.EXPIRED, "", "")
            _stop_plan(approval, Message("Nobody approved the step in time."))


def _locked(pk: int) -> Approval:
    approval: Approval | None = Approval.objects.waiting().select_for_update().filter(pk=pk).first()
    if approval is None:
        raise ChangeRefused(Message("This request is not waiting for approval."))
    return approval


def _locked_plan(approval: Approval) -> Plan | None:
    if approval.plan_id is None:
        return None
    plan = Plan.objects.select_for_update().filter(pk=approval.plan_id, state=PlanState.WAITING).first()
    if plan is None:
        raise ChangeRefused(_OUTDATED)
    return plan


def _refuse_without_permission(approval: Approval, decider: Decider) -> None:
    if not decider.may_decide(approval):
        raise NotPermitted(Message("Only somebody who has permission to make this change can approve or refuse it."))


def _refuse_outdated(request: ChangeRequest) -> None:
    """Raise ChangeRefused if the change needs no approval any more, or if its university rule has been changed."""
    if request.action == Action.SCOPE and request.rule.pk is None and not request.is_on:
        raise ChangeRefused(_OUTDATED)
    if request.action == Action.SCOPE and request.is_on:
        try:
            request.rule.validate_constraints(exclude={"reason"})
        except ValidationError:
            raise ChangeRefused(_OUTDATED) from None
    unapproved = replace(request, approval=None)
    if not approvals.needs_approval(unapproved, changes.preview(unapproved)):
        raise ChangeRefused(_OUTDATED)


def _stop_plan(approval: Approval, why: Message) -> None:
    if approval.plan:
        approval.plan.stop(why)
