from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Self

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from profiles.rollout.models.change import REASON_LENGTH, ChangeQuerySet, ChangeRecord
from profiles.rollout.models.plan import Plan

if TYPE_CHECKING:
    from profiles.rollout.change_request import Approver

APPROVAL_LASTS = timedelta(hours=24)


def approval_end() -> datetime:
    return timezone.now() + APPROVAL_LASTS


class ApprovalState(models.TextChoices):
    WAITING = "waiting", _("waiting")
    APPROVED = "approved", _("approved")
    REFUSED = "refused", _("refused")
    WITHDRAWN = "withdrawn", _("withdrawn")
    EXPIRED = "expired", _("expired")


class ApprovalQuerySet(ChangeQuerySet):
    def waiting(self) -> Self:
        return self.filter(state=ApprovalState.WAITING, expires_at__gt=timezone.now())

    def visible_to(self, person: Approver, universities: Iterable[int] | None) -> Self:
        """Return the requests that the person may see: all requests if ``universities`` is None.

        Otherwise, they are the person's own requests, and those that concern ``universities`` or all universities.
        """
        own = self.filter(Q(account=person.account) | Q(by__in=[person.name, person.login]))
        return self if universities is None else self.of_universities(universities) | own


class Approval(ChangeRecord):
    """A change that waits until a second person approves it (docs/reference/rollout.md).

    ``before``, ``after`` and ``evidence`` are from the time of the request. On approval, permissions, rules and gates
    are checked again for the change in ``request``. ``account`` is the ID of the requester's account or of the API
    key's owner; None in the shell.
    """

    account = models.BigIntegerField(null=True, editable=False)
    request = models.JSONField(editable=False)
    plan = models.ForeignKey(Plan, models.SET_NULL, null=True, related_name="approvals")
    expires_at = models.DateTimeField(_("expires at"), default=approval_end)
    state = models.CharField(_("state"), max_length=10, choices=ApprovalState, default=ApprovalState.WAITING)
    decided_by = models.CharField(_("decided by"), max_length=150, blank=True, default="")
    decided_at = models.DateTimeField(_("decided at"), null=True)
    decision_reason = models.CharField(_("reason for the decision"), max_length=REASON_LENGTH, blank=True, default="")

    objects: ClassVar[ApprovalQuerySet] = ApprovalQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(ChangeRecord.Meta):
        default_permissions = ()
        verbose_name = _("request for approval")
        verbose_name_plural = _("requests for approval")
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(reason=""), name="rollout_approval_has_reason"),
            models.CheckConstraint(
                condition=~Q(state=ApprovalState.APPROVED, decided_by=F("by")), name="rollout_approval_by_another"
            ),
        ]

    def conclude(self, state: ApprovalState, by: str, reason: str) -> None:
        self.state, self.decided_by, self.decided_at, self.decision_reason = state, by, timezone.now(), reason
        self.save()
