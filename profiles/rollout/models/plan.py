from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from config.lib.messages import Text, from_columns, localize, to_columns
from profiles.rollout.models.change import REASON_LENGTH


class PlanState(models.TextChoices):
    QUEUED = "queued", _("waiting for the previous step")
    PLANNED = "planned", _("planned")
    WAITING = "waiting", _("waiting for approval")
    DONE = "done", _("done")
    DROPPED = "dropped", _("cancelled")


class PlanQuerySet(models.QuerySet["Plan"]):
    def open(self) -> PlanQuerySet:
        return self.filter(state__in=(PlanState.QUEUED, PlanState.PLANNED, PlanState.WAITING))

    def of(self, step: Plan) -> PlanQuerySet:
        """Return the steps of the plan to which the given step belongs, in order."""
        head = step.first_id or step.pk
        return self.filter(Q(pk=head) | Q(first=head)).order_by("pk")


class Plan(models.Model):
    """A step of a plan.

    A due step is checked like any other change; when it is done, the next step becomes current. ``first`` is the first
    step of the plan; for the first step itself, it is None. With ``waits_for_gates``, the step is tried from ``due_at``
    on until its gates pass; otherwise, gates that do not pass end the plan. ``account`` is the ID of the account that
    made the plan or owns the API key used; None for a plan from the shell or from an earlier release.
    """

    phase = models.PositiveSmallIntegerField(_("phase"))
    percent = models.DecimalField(_("percent"), max_digits=5, decimal_places=2)
    due_at = models.DateTimeField(_("due at"))
    revision = models.BigIntegerField(_("revision"))
    by = models.CharField(_("by"), max_length=150)
    reason = models.CharField(_("reason"), max_length=500)
    state = models.CharField(_("state"), max_length=10, choices=PlanState, default=PlanState.PLANNED)
    outcome = models.CharField(_("outcome"), max_length=REASON_LENGTH, blank=True, default="")
    sentence = models.JSONField(null=True, editable=False)
    first = models.ForeignKey("self", models.CASCADE, null=True, related_name="later", verbose_name=_("first step"))
    waits_for_gates = models.BooleanField(_("wait for the gates"), default=False, db_default=False)
    from_hour = models.PositiveSmallIntegerField(_("from hour"), null=True)
    until_hour = models.PositiveSmallIntegerField(_("until hour"), null=True)
    account = models.BigIntegerField(null=True, editable=False)

    objects: ClassVar[PlanQuerySet] = PlanQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering: ClassVar = ["due_at", "pk"]
        verbose_name = _("planned step")
        verbose_name_plural = _("planned steps")

    def __str__(self) -> str:
        return f"{self.phase}: {localize(str(self.percent))} %"

    @property
    def text(self) -> str:
        return str(from_columns(self.outcome, self.sentence))

    @property
    def hours(self) -> tuple[int, int] | None:
        """Return the hours between which the step may be taken, in the site's time zone; None for any time.

        The range from 22 to 6 includes midnight.
        """
        return None if self.from_hour is None or self.until_hour is None else (self.from_hour, self.until_hour)

    def is_within_hours(self, at: datetime) -> bool:
        if self.hours is None:
            return True
        (start, end), hour = self.hours, at.astimezone(timezone.get_default_timezone()).hour
        return start <= hour < end if start < end else hour >= start or hour < end

    def conclude(self, state: PlanState, outcome: Text) -> None:
        self.state = state
        self.outcome, self.sentence = to_columns(outcome, REASON_LENGTH)
        self.save()

    def stop(self, why: Text) -> None:
        """Cancel this step and the later steps of the plan, with ``why`` as the reason."""
        for step in Plan.objects.of(self).open():
            step.conclude(PlanState.DROPPED, why)
        self.refresh_from_db()
