"""Pending lookups in the direct API: jobs that search for missing MAX IDs, and employees with an unresolved name."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from employees.models.employee import Employee

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)


class JobStatus(models.TextChoices):
    PENDING = "pending", _("pending")
    RUNNING = "running", _("running")
    DONE = "done", _("done")
    FAILED = "failed", _("failed")


class MaxIdJob(models.Model):
    """A job that searches the direct API for missing MAX IDs.

    ``last_id`` is the ID of the last employee that was processed; the transaction that stores results updates it.
    """

    status = models.CharField(_("status"), max_length=10, choices=JobStatus, default=JobStatus.PENDING)
    total = models.PositiveIntegerField(_("total"), default=0)
    done = models.PositiveIntegerField(_("found"), default=0)
    failed = models.PositiveIntegerField(_("not found"), default=0)
    last_id = models.BigIntegerField(default=0)
    outages = models.PositiveIntegerField(_("outages in a row"), default=0)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, verbose_name=_("requested by")
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    next_try_at = models.DateTimeField(_("next try at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True)

    class Meta:
        db_table = "max_id_jobs"
        ordering: ClassVar = ["-id"]
        verbose_name = _("MAX ID search")
        verbose_name_plural = _("MAX ID searches")
        constraints: ClassVar = [
            models.UniqueConstraint(Value(1), name="max_id_jobs_one_at_a_time", condition=Q(finished_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.pk}: {self.get_status_display()}"

    def finish(self, status: JobStatus) -> None:
        self.status, self.finished_at = status, timezone.now()


class UnresolvedName(models.Model):
    """An employee whose name still has to be looked up, after an outage or an import; the lookup is retried."""

    employee = models.OneToOneField(Employee, models.CASCADE, primary_key=True, verbose_name=_("employee"))
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    next_try_at = models.DateTimeField(_("next try at"), db_index=True)
    request_id = models.CharField(max_length=64, blank=True, db_default="", editable=False)

    class Meta:
        db_table = "unresolved_names"
        verbose_name = _("unresolved name")
        verbose_name_plural = _("unresolved names")

    def __str__(self) -> str:
        return str(self.pk)

    def postpone(self) -> None:
        """Schedule the next attempt: a minute after the first failure, then twice as long each time, up to an hour."""
        self.attempts += 1
        self.next_try_at = timezone.now() + min(FIRST_RETRY * 2 ** min(self.attempts, 10), LONGEST_RETRY)
