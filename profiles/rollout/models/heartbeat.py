from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F
from django.db.models.functions import Greatest, Now
from django.utils.translation import gettext_lazy as _


class HeartbeatQuerySet(models.QuerySet["Heartbeat"]):
    def with_last_seen_age(self) -> HeartbeatQuerySet:
        """Annotate ``last_seen_age``, the time between the last heartbeat and now, which is never negative.

        After a clock has been set back, a heartbeat may be in the future although its process has ended. If it is far
        in the future, the process counts as silent.
        """
        age = Now() - F("seen_at")
        return self.annotate(last_seen_age=Greatest(age, -age, output_field=models.DurationField()))


class Heartbeat(models.Model):
    process = models.CharField(_("process"), max_length=100, primary_key=True)
    revision = models.BigIntegerField(_("revision"))
    revision_seen_at = models.DateTimeField(_("revision applied at"), db_default=Now())
    seen_at = models.DateTimeField(_("last heartbeat at"), db_default=Now())

    objects: ClassVar[HeartbeatQuerySet] = HeartbeatQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("process")
        verbose_name_plural = _("processes")

    def __str__(self) -> str:
        return self.process
