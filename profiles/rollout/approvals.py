"""Approval by a second person: which changes need it, and the requests that are stored for them.

If ``ROLLOUT_APPROVALS`` is on, ``profiles.rollout.changes`` refuses every change that needs approval and does not have
it. If the caller of ``apply`` has opened a transaction, as in ``Flag.save()``, a rollback of this transaction also
removes the stored request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from operator import gt
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.signals import pre_delete, pre_save
from django.dispatch import receiver
from django.utils.translation import gettext as _
from waffle.models import Switch

from config.lib import times
from config.lib.messages import Message, join_messages
from config.postgres.base import CommitNotConfirmed, without_standby
from config.postgres.locks import limit_commit
from profiles.rollout.change_request import Approver, ChangeRequest, Source
from profiles.rollout.decision import RolloutState
from profiles.rollout.models import Action, Approval, UniversityRule
from profiles.rollout.phases import SWITCHES
from profiles.rollout.rollout_settings import ChangeResult, RolloutSettings
from profiles.rollout.rules import ChangeRefused
from profiles.rollout.standby import HERE_ONLY

# All switches except monitoring, which admits nobody to the cache.
_CACHE_SWITCHES = set(SWITCHES) - {"monitoring"}
APPROVAL_NEEDED = Message("A second person has to approve this change.")


class ApprovalNeeded(ChangeRefused):
    """Raised for a change that a second person has to approve.

    ``approval`` is the request for approval; None for a switch or a rule that code saves without a change request.
    """

    def __init__(self, approval: Approval | None = None) -> None:
        super().__init__(APPROVAL_NEEDED)
        self.approval = approval

    @property
    def notice(self) -> str:
        """Return a line with the number and expiry of the stored request; an empty string if no request is stored."""
        if self.approval is None:
            return ""
        params = {"id": self.approval.pk, "until": times.text(self.approval.expires_at, has_seconds=False)}
        return _("Request %(id)s is waiting for approval until %(until)s.") % params

    def store(self) -> None:
        """Store the request, unless the same person's request for the same change is already waiting.

        In both cases, wait until a synchronous standby confirms the request, because an earlier request may still be
        unconfirmed. If this takes too long, add a note to the text of this exception.
        """
        new = self.approval
        if new is None:
            return
        same = Approval.objects.waiting().filter(by=new.by, action=new.action, request=new.request, plan=new.plan_id)
        self.approval = same.first() or new
        try:
            # Wait even inside a block that confirms several changes together, because this exception ends that block.
            with without_standby(is_lost=False), transaction.atomic():
                limit_commit()
                if self.approval is new:
                    new.pk = None
                    new.save(force_insert=True)
        except CommitNotConfirmed:
            super().__init__(join_messages([APPROVAL_NEEDED, HERE_ONLY]))


def needs_approval(request: ChangeRequest, result: ChangeResult) -> bool:
    """Return whether a second person must approve a change: a forced step, a resume, or one that admits more people."""
    if not settings.ROLLOUT_APPROVALS or request.action == Action.EMERGENCY:
        return False
    if request.approval:
        refuse_own(request, request.approval)
        return False
    if request.action == Action.SCOPE:
        return not request.facts and lets_more_in(request.rule, is_kept=request.is_on)
    if request.action == Action.RESUME:
        return result.is_change
    is_forced = request.is_forced and request.action in (Action.SET, Action.ADVANCE)
    return is_forced or _admits_more(result.before, result.after)


def refuse_own(request: ChangeRequest, approver: Approver) -> None:
    if request.is_by(approver):
        raise ChangeRefused(Message("You cannot approve your own request: a second person has to approve it."))


def _admits_more(before: RolloutSettings, after: RolloutSettings) -> bool:
    turned_on = any(after.switches.get(name) and not before.switches.get(name) for name in _CACHE_SWITCHES)
    is_higher = any(percent > before.percents[name] for name, percent in after.percents.items())
    return turned_on or is_higher or any(map(gt, _shares(after), _shares(before)))


def _shares(of: RolloutSettings) -> tuple[int, ...]:
    """Return the share of employees in each phase, in hundredths of a percent, with the overrides applied."""
    flags = [(name, float(percent), of.everyone.get(name), "") for name, percent in of.percents.items()]
    return RolloutState.of((0, json.dumps(flags), None, None)).phases


def lets_more_in(rule: UniversityRule, *, is_kept: bool) -> bool:
    """Return whether saving or removing a rule admits more people, as a longer permission or a shorter denial does.

    ``is_kept`` is False if the rule is removed.
    """
    was = UniversityRule.objects.in_force().filter(pk=rule.pk).first()
    admits = is_kept and rule.is_allowed
    if was is None:
        return admits
    fields = ("university_id", "phase", "is_allowed")
    if not is_kept or any(getattr(rule, name) != getattr(was, name) for name in fields):
        return admits or not was.is_allowed
    earlier, later = (was, rule) if rule.is_allowed else (rule, was)
    return earlier.expires_at is not None and (later.expires_at is None or later.expires_at > earlier.expires_at)


def approval_of(request: ChangeRequest, before: dict[str, Any], after: dict[str, Any], revision: int) -> Approval:
    """Return an unsaved request for approval, with the state before and after the change for display."""
    rule = request.rule
    expires_at = rule.expires_at.isoformat() if rule.expires_at else None
    stored = {
        "source": request.source.name,
        "phase": request.phase,
        "percent": str(request.percent),
        "everyone": request.everyone,
        "switch": request.switch,
        "is_on": request.is_on,
        "rule": [rule.pk, rule.university_id, rule.phase, rule.is_allowed, expires_at],
    }
    approval = Approval(by=request.by, action=request.action, revision=revision, before=before, after=after)
    approval.account = request.account
    approval.request, approval.plan_id = stored | {"is_forced": request.is_forced}, request.plan or None
    approval.evidence, approval.is_forced = request.evidence, request.is_forced
    approval.text = request.reason
    return approval


def request_of(approval: Approval) -> ChangeRequest:
    """Return the ChangeRequest that is stored in the approval."""
    stored = dict(approval.request)
    pk, university, phase, is_allowed, expires_at = stored.pop("rule")
    rules = UniversityRule.objects.filter(university_id=university, phase=phase, is_allowed=is_allowed)
    rule = UniversityRule.objects.filter(pk=pk).first() or rules.first() or UniversityRule()
    rule.university_id, rule.phase, rule.is_allowed = university, phase, is_allowed
    rule.expires_at = datetime.fromisoformat(expires_at) if expires_at else None
    return ChangeRequest(
        **stored | {"source": Source[stored["source"]], "percent": Decimal(stored["percent"]), "rule": rule},
        action=Action(approval.action),
        by=approval.by,
        account=approval.account,
        reason=approval.stored_reason,
        plan=approval.plan_id or 0,
    )


# Code may save switches and university rules without a change request.

_is_judged: ContextVar[bool] = ContextVar("_is_judged", default=False)


@contextmanager
def judged() -> Iterator[None]:
    """Within the block, skip the approval check when switches and rules are saved: the whole change has passed it."""
    token = _is_judged.set(True)
    try:
        yield
    finally:
        _is_judged.reset(token)


@receiver(pre_save, sender=Switch)
def _refuse_switch(instance: Switch, **kwargs: Any) -> None:
    if not settings.ROLLOUT_APPROVALS or _is_judged.get() or instance.name not in _CACHE_SWITCHES:
        return
    if instance.active and not Switch.objects.filter(name=instance.name, active=True).exists():
        raise ApprovalNeeded


@receiver([pre_save, pre_delete], sender=UniversityRule)
def _refuse_rule(instance: UniversityRule, signal: Any, **kwargs: Any) -> None:
    if not settings.ROLLOUT_APPROVALS or _is_judged.get():
        return
    if lets_more_in(instance, is_kept=signal is pre_save):
        raise ApprovalNeeded
