from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from employees.models.university import University


class RunStatus(models.TextChoices):
    RUNNING = "running", _("running")
    PAUSED = "paused", _("paused")
    DONE = "done", _("done")
    UNDOING = "undoing", _("undoing")
    UNDONE = "undone", _("undone")


class BatchStatus(models.TextChoices):
    DONE = "done", _("done")
    FAILED = "failed", _("failed")
    UNDONE = "undone", _("undone")


# How long a run can be undone; after that, its previous values, which are names, are deleted.
UNDO_FOR = timedelta(days=30)
ONE_AT_A_TIME = "backfill_runs_one_at_a_time"
OPEN = [RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.UNDOING]


class BackfillRunQuerySet(models.QuerySet["BackfillRun"]):
    def pause(self, reason: str) -> int:
        """Pause the runs that are in progress: they stop before the next batch. Return the number of paused runs."""
        return self.filter(status=RunStatus.RUNNING).update(status=RunStatus.PAUSED, paused_because=reason[:200])


class BackfillRun(models.Model):
    """One pass over the employees that sets their names from the cache.

    ``last_id`` is the ID of the last employee that was processed; each batch updates it in its own transaction.
    """

    status = models.CharField(_("status"), max_length=10, choices=RunStatus, default=RunStatus.RUNNING)
    university = models.ForeignKey(
        University, models.PROTECT, null=True, blank=True, verbose_name=_("university"), help_text=_("empty: all")
    )
    replaces_names = models.BooleanField(
        _("replace names"),
        default=False,
        db_default=False,
        help_text=_(
            "also replace names from the direct API and outdated ones from the cache, for people that the rollout"
            " admits to the cache; otherwise only employees without a name get one"
        ),
    )
    reason = models.CharField(_("reason"), max_length=500, blank=True, default="", db_default="")
    # The login of the user, or of the user of the shell that ran the command.
    started_by = models.CharField(_("started by"), max_length=150, blank=True, default="", db_default="")
    paused_because = models.CharField(_("paused because"), max_length=200, blank=True, default="")
    last_id = models.BigIntegerField(_("processed up to ID"), default=0)
    until_id = models.BigIntegerField(_("ends at ID"))
    rows_total = models.BigIntegerField(_("rows to check"), default=0)
    rows_seen = models.BigIntegerField(_("rows checked"), default=0)
    rows_changed = models.BigIntegerField(_("rows changed"), default=0)
    rows_restored = models.BigIntegerField(_("names restored"), default=0, db_default=0)
    batch_size = models.PositiveIntegerField(_("batch size"), default=1000)
    batch_target_ms = models.PositiveIntegerField(_("target batch duration, ms"), default=30)
    pause_ms = models.PositiveIntegerField(_("pause between batches, ms"), default=20)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, verbose_name=_("requested by")
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    seen_at = models.DateTimeField(_("last batch at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)

    objects: ClassVar[BackfillRunQuerySet] = BackfillRunQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "backfill_runs"
        ordering: ClassVar = ["-id"]
        verbose_name = _("backfill")
        verbose_name_plural = _("backfills")
        constraints: ClassVar = [
            models.UniqueConstraint(Value(1), name=ONE_AT_A_TIME, condition=Q(status__in=OPEN)),
        ]

    def __str__(self) -> str:
        return f"{self.pk}: {self.get_status_display()}"

    def progress(self) -> tuple[int, int]:
        """Return how many items are done and how many there are: batches during an undo, otherwise employees."""
        if self.status == RunStatus.UNDOING:
            batches = self.batches.exclude(status=BatchStatus.FAILED)
            return batches.filter(status=BatchStatus.UNDONE).count(), batches.count()
        return self.rows_seen, max(self.rows_total, self.rows_seen)

    @property
    def rows_unchanged(self) -> int:
        """Return the number of employees that the run left unchanged."""
        return max(self.rows_seen - self.rows_changed, 0)

    @property
    def rows_kept(self) -> int:
        """Return the number of names that an undo did not restore, because they were changed again after the run."""
        return max(self.rows_changed - self.rows_restored, 0) if self.status == RunStatus.UNDONE else 0

    def resume(self) -> None:
        """Set a paused run to running; leave a run with another status unchanged."""
        BackfillRun.objects.filter(pk=self.pk, status=RunStatus.PAUSED).update(
            status=RunStatus.RUNNING, paused_because=""
        )
        self.refresh_from_db()

    @property
    def pause_reason(self) -> str:
        """Return the reason for the pause; an empty string if there is none.

        A reason that the system gave is translated; a reason that a user entered is not.
        """
        return gettext(self.paused_because) if self.paused_because else ""

    @property
    def is_undo_expired(self) -> bool:
        return self.created_at < timezone.now() - UNDO_FOR

    def undo(self) -> None:
        """Start undoing a run that is done or paused; do nothing if the run is too old to be undone."""
        if not self.is_undo_expired:
            BackfillRun.objects.filter(pk=self.pk, status__in=[RunStatus.DONE, RunStatus.PAUSED]).update(
                status=RunStatus.UNDOING, finished_at=None, paused_because=""
            )
        self.refresh_from_db()


class BackfillBatch(models.Model):
    """A range of employee IDs processed in one transaction.

    ``changes`` holds each changed row as it was before and after the change.
    """

    run = models.ForeignKey(BackfillRun, models.CASCADE, related_name="batches", verbose_name=_("backfill"))
    status = models.CharField(_("status"), max_length=10, choices=BatchStatus, default=BatchStatus.DONE)
    after_id = models.BigIntegerField(_("after ID"))
    until_id = models.BigIntegerField(_("until ID"))
    rows_seen = models.PositiveIntegerField(_("rows checked"), default=0)
    rows_changed = models.PositiveIntegerField(_("rows changed"), default=0)
    duration_ms = models.PositiveIntegerField(_("duration, ms"), default=0)
    error = models.CharField(_("error"), max_length=200, blank=True, default="")
    changes = models.JSONField(_("changes"), default=list)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        db_table = "backfill_batches"
        ordering: ClassVar = ["id"]
        verbose_name = _("batch")
        verbose_name_plural = _("batches")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "after_id"], name="backfill_batches_range_once"),
        ]

    def __str__(self) -> str:
        return f"{self.after_id}–{self.until_id}: {self.get_status_display()}"
